// The state of the server now.
import { call, element, fill } from "../shared/dom.js";
import { duration } from "../shared/format.js";
import { figures, table, text } from "../table.js";

async function draw(into, _, ended) {
  const health = await call("GET", "api/health");
  if (ended.aborted) return;
  const queued = Object.entries(health.queued);
  fill(into, element("h2", {}, "Overview"),
    health.reason ? element("p", { class: "bad" }, text(health.reason)) : null,
    health.refuses ? element("p", { class: "warn" }, text(health.refuses)) : null,
    figures([
      ["server", health.status], ["version", health.version], ["up for", duration(health.uptime_seconds * 1000)],
      ["waiting", queued.reduce((sum, [, count]) => sum + count, 0)], ["running", health.running],
      ["to deliver", health.undelivered], ["delivered since the start", health.delivered],
      ["given up since the start", health.given_up], ["disabled", health.disabled],
      ["open circuits", health.open_circuits],
    ]),
    queued.length ? table("Waiting requests by route", ["route", "waiting"],
      queued.map(([route, count]) => [text(route), String(count)])) : null);
}

export const overview = { name: "overview", title: "Overview", every: 5, watches: () => true, draw };
