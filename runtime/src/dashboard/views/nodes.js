// The processes that use the store, and what each of them has of the limits that they share.
import { call, element, fill, tag } from "../shared/dom.js";
import { duration } from "../shared/format.js";
import { isNew, table, text, time } from "../table.js";

const STATES = { live: "good", silent: "warn", over: "" };

function row(node) {
  return [element("span", {}, text(node.name), node.is_this ? [" ", tag("answers this page", "")] : null), tag(text(node.state), STATES[node.state] ?? ""),
    node.silent_seconds === undefined || node.silent_seconds === null ? "–" : `${duration(node.silent_seconds * 1000)} ago`,
    String(node.running), text(node.delivering ?? "–"), text(node.version), time(node.started), element("span", { class: "mono" }, text(node.id))];
}

// The limits of an origin are divided among the nodes that are not over, and rounded up.
function shares({ settings }, count) {
  const limits = [["delivery.per_origin", settings["delivery.per_origin"]],
    ...(settings["delivery.endpoint"] ?? []).map((endpoint) => [`concurrency of ${text(endpoint.url)}`, endpoint.concurrency])];
  return limits.filter(([, limit]) => typeof limit === "number")
    .map(([name, limit]) => [name, String(limit), String(Math.ceil(limit / Math.max(count, 1)))]);
}

async function draw(into, _, ended) {
  const [{ items }, settings] = await Promise.all([call("GET", "api/nodes"), call("GET", "api/settings")]);
  // A beat is always a little ago, so it counts as new only by the second.
  const known = items.map((node) => ({ ...node, silent_seconds: Math.round(node.silent_seconds ?? 0) }));
  if (ended.aborted || !isNew(into, [known, settings])) return;
  const live = items.filter((node) => node.state !== "over").length;
  fill(into, element("h2", {}, "Nodes"),
    table("Nodes", ["node", "state", "last beat", "running", "delivering", "version", "started", "id"], items.map(row), null),
    element("p", { class: "dim" }, live > 1
      ? `${live} nodes share the store. A receiver gets no more attempts at a time because there are several.`
      : "One node uses the store."),
    table("Shared limits", ["limit", "all nodes", "each node"], shares(settings, live)));
}

export const nodes = { name: "nodes", title: "Nodes", every: 2, draw };
