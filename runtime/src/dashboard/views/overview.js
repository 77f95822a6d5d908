// The state of the server now, and what happened before.
import { charts } from "../charts.js";
import { call, element, fill } from "../shared/dom.js";
import { duration } from "../shared/format.js";
import { figures, table, text } from "../table.js";

const drawn = new WeakMap(); // the parts of the view, by the element that shows it

async function draw(into, _, ended) {
  let parts = drawn.get(into);
  if (!parts) {
    parts = { now: element("div", { class: "stack" }), charts: charts(ended) };
    drawn.set(into, parts);
  }
  // The charts tell themselves what is wrong, so that the state is shown without them.
  const [health] = await Promise.all([call("GET", "api/health"), parts.charts.refresh()]);
  if (ended.aborted) return;
  const queued = Object.entries(health.queued);
  fill(parts.now,
    health.reason ? element("p", { class: "bad" }, text(health.reason)) : null,
    health.refuses ? element("p", { class: "warn" }, text(health.refuses)) : null,
    figures([
      ["server", health.status], ["version", health.version], ["up for", health.uptime_seconds ? duration(health.uptime_seconds * 1000) : "less than 1 s"],
      ["waiting", queued.reduce((sum, [, count]) => sum + count, 0)], ["running", health.running],
      ["to deliver", health.undelivered], ["delivered since the start", health.delivered],
      ["given up since the start", health.given_up], ["disabled", health.disabled],
      ["open circuits", health.open_circuits],
    ]),
    queued.length ? table("Waiting requests by route", ["route", "waiting"],
      queued.map(([route, count]) => [text(route), String(count)])) : null);
  if (parts.now.parentElement !== into) fill(into, element("h2", {}, "Overview"), parts.now, parts.charts.shown);
}

export const overview = { name: "overview", title: "Overview", every: 5, watches: () => true, draw };
