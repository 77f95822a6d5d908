// The schedules of the program, with their last and next times.
import { call, element, fill } from "../shared/dom.js";
import { isNew, table, text } from "../table.js";

const MISSED = { skip: "is skipped", once: "runs once", all: "runs for each time" };

function row({ route, cron, time_zone, missed, last, next }) {
  const shown = (time) => element("span", { class: "mono" }, text(time));
  return [element("a", { href: `#requests?route=${encodeURIComponent(route)}` }, text(route)), shown(cron), text(time_zone),
    last ? shown(last) : "not yet", element("span", {}, ...next.flatMap((time, n) => n ? [element("br", {}), shown(time)] : [shown(time)])),
    MISSED[missed] ?? text(missed)];
}

async function draw(into, _, ended) {
  const { items } = await call("GET", "api/schedules");
  if (ended.aborted || !isNew(into, items)) return;
  fill(into, element("h2", {}, "Schedules"), items.length
    ? table("Schedules", ["route", "schedule", "time zone", "last", "next", "if it was missed"], items.map(row), null)
    : element("p", { class: "dim" }, "The program has no schedules."));
}

export const schedules = { name: "schedules", title: "Schedules", every: 5, draw };
