// The changes that operators have made.
import { list } from "../list.js";
import { text, time } from "../table.js";

function draw(into, _, ended) {
  return list(into, ended, {
    name: "Audit", path: "api/audit", fields: [], key: (entry) => `${entry.at} ${entry.who} ${entry.what} ${entry.subject}`,
    columns: ["at", "who", "what", "subject", "detail"],
    row: (entry) => [time(entry.at), text(entry.who), text(entry.what), text(entry.subject), text(entry.detail, 1000)],
  });
}

export const audit = { name: "audit", title: "Audit", every: 10, draw };
