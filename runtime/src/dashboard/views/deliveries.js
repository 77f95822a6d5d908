// Deliveries: the list, one delivery with its attempts, and replay of one.
import { button, call, element, fill, toast } from "../shared/dom.js";
import { duration } from "../shared/format.js";
import { list } from "../list.js";
import { content, isNew, pairs, status, table, text, time } from "../table.js";

const STATUSES = ["pending", "parked", "held", "delivering", "delivered", "dead", "refused", "gone"];
const ENDED = ["delivered", "dead", "refused", "gone"];

async function replay(id) {
  try {
    const made = await call("POST", `api/deliveries/${encodeURIComponent(id)}/replay`);
    toast("sent again");
    location.hash = `deliveries/${encodeURIComponent(made.id)}`;
  } catch (error) {
    toast(error.message);
  }
}

async function one(into, id, ended) {
  const delivery = await call("GET", `api/deliveries/${encodeURIComponent(id)}`);
  if (ended.aborted || !isNew(into, delivery)) return;
  fill(into, element("h2", { class: "mono" }, text(delivery.id)),
    element("div", { class: "row" }, status(delivery.status),
      button("Send again", () => replay(id), { disabled: !ENDED.includes(delivery.status) })),
    pairs([["url", delivery.url],
      ["about", element("a", { class: "mono", href: `#requests/${encodeURIComponent(delivery.subject)}` }, text(delivery.subject))],
      ["webhook-id", delivery.webhook_id], ["created", time(delivery.created)], ["finished", time(delivery.finished)],
      ["next attempt", time(delivery.next_attempt)], ["attempts", delivery.attempts], ["refused", delivery.refused]]),
    table("Attempts", ["attempt", "started", "took", "answer", "error", "body of the answer"], delivery.history.map((attempt) => [
      String(attempt.number), time(attempt.started), duration(attempt.took_ms), text(attempt.status ?? "none"),
      text(attempt.error, 1000), text(attempt.response, 2000)])),
    content("Body", delivery.body));
}

async function draw(into, id, ended, given) {
  if (id) return one(into, id, ended);
  return list(into, ended, {
    name: "Deliveries", path: "api/deliveries", given,
    fields: [["status", "Status", STATUSES], ["url", "URL begins with", null],
      ["subject", "About", null], ["since", "Since (2h, or a time)", null], ["until", "Until", null]],
    columns: ["status", "delivery", "url", "attempts", "created", "last answer"],
    row: (delivery) => [
      status(delivery.status),
      element("a", { class: "mono", href: `#deliveries/${encodeURIComponent(delivery.id)}` }, text(delivery.id)),
      text(delivery.url), String(delivery.attempts), time(delivery.created),
      text(delivery.last_attempt?.status ?? delivery.last_attempt?.error)],
  });
}

export const deliveries = { name: "deliveries", title: "Deliveries", every: 5, everyOne: 3, draw,
  watches: ({ deliveries: all }, id) => (id ? all.some((one) => one.id === id) : all.length > 0) };
