// Requests: the list, and one request with its timeline and its deliveries.
import { button, call, element, fill, toast } from "../shared/dom.js";
import { list } from "../list.js";
import { bytes, duration } from "../shared/format.js";
import { content, isNew, pairs, status, table, text, time } from "../table.js";

const STATUSES = ["in_queue", "in_progress", "completed", "failed", "cancelled"];

function link(id) {
  return element("a", { class: "mono", href: `#requests/${encodeURIComponent(id)}` }, text(id));
}

// What the handler has told last. A fraction is a bar, and what has none is told by its message alone.
function progress(told) {
  if (!told) return null;
  const known = typeof told.fraction === "number";
  return element("section", { class: "panel stack" }, element("h3", {}, "Progress"),
    element("div", { class: "row" },
      known ? element("progress", { "aria-label": "progress of the request", max: "1", value: told.fraction }) : null,
      known ? element("span", {}, `${Math.floor(told.fraction * 100)} %`) : null,
      told.message ? element("span", {}, text(told.message, 1000)) : null,
      element("span", { class: "dim" }, "told by run ", String(told.run), ", ", time(told.at))),
    told.detail === undefined || told.detail === null ? null
      : element("pre", { class: "code", tabindex: "0" }, text(JSON.stringify(told.detail, null, 2), 10000)));
}

async function change(id, what, done) {
  try {
    const answer = await call("POST", `api/requests/${encodeURIComponent(id)}/${what}`);
    toast(done);
    if (what === "retry" && answer?.id) location.hash = `requests/${encodeURIComponent(answer.id)}`;
  } catch (error) {
    toast(error.message);
  }
}

const toDelivery = (id) => element("a", { class: "mono", href: `#deliveries/${encodeURIComponent(id)}` }, text(id));

// The attempts of how many deliveries are in the timeline. Each may cost a call.
const ATTEMPTED = 5;

const kept = new Map(); // the attempts of deliveries that are over, which do not change

// The attempts of the newest deliveries.
async function attemptsOf(deliveries) {
  const read = async ({ id, attempts, finished, last_attempt: last }) => {
    if (attempts < 2) return last ? [{ ...last, id }] : [];
    if (kept.has(id)) return kept.get(id);
    const { history } = await call("GET", `api/deliveries/${encodeURIComponent(id)}`);
    const made = history.map((attempt) => ({ ...attempt, id }));
    if (kept.size > 100) kept.clear();
    if (finished) kept.set(id, made);
    return made;
  };
  return (await Promise.all(deliveries.slice(-ATTEMPTED).map(read))).flat();
}

// What happened to the request and to its reports, in the order of time.
function timeline(events, attempts) {
  const runs = events.map((event) => [event.at, [time(event.at), text(event.what), text(event.run), text(event.detail, 1000)]]);
  const sends = attempts.map((one) => [one.started, [time(one.started), `attempt ${one.number}`, "", element("span", {},
    status(one.status ?? "no answer", one.status >= 200 && one.status < 300 ? "good" : "bad"), ` after ${duration(one.took_ms)} `,
    toDelivery(one.id), " ", text(one.error, 1000), " ", text(one.response, 500))]]);
  const all = [...runs, ...sends].sort(([one], [other]) => Date.parse(one) - Date.parse(other));
  return table("Timeline", ["at", "what", "run", "detail"], all.map(([, cells]) => cells));
}

// Whether changes are about this request, or about its deliveries.
export const about = (changes, id) => changes.requests.some((one) => one.id === id)
  || changes.deliveries.some((one) => one.subject === id || sent.has(one.id));

let sent = new Set(); // the deliveries of the request that is shown

export async function one(into, id, ended) {
  const path = encodeURIComponent(id);
  const request = await call("GET", `api/requests/${path}`);
  const { deliveries } = request;
  const attempted = await attemptsOf(deliveries);
  if (ended.aborted || !isNew(into, [request, attempted])) return;
  sent = new Set(deliveries.map((delivery) => delivery.id));
  const isOver = Boolean(request.finished);
  fill(into, element("h2", { class: "mono" }, text(request.id)),
    element("div", { class: "row" }, status(request.status),
      button("Cancel", () => change(id, "cancel", "the request is told to stop"), { class: "danger", disabled: isOver }),
      button("Run again", () => change(id, "retry", "submitted again"), { disabled: !["failed", "cancelled"].includes(request.status) })),
    pairs([["route", request.route], ["created", time(request.created)], ["finished", time(request.finished)],
      ["reason", request.reason], ["failed runs", request.failures], ["crashes", request.crashes],
      ["token", request.token], ["priority", request.priority || ""], ["deadline", time(request.deadline)],
      ["time limit", request.timeout_ms && duration(request.timeout_ms)], ["reports to", request.webhooks.join(", ")],
      ["query", request.query], ["caller's webhook", request.caller_webhook], ["repeats", request.retry_of && link(request.retry_of)], ["due", time(request.due)],
      ["checkpoint", request.checkpoint && element("span", {}, bytes(request.checkpoint.bytes), ", saved ",
        request.checkpoint.saved ? time(request.checkpoint.saved) : "by an earlier version")]]),
    progress(request.progress),
    request.metadata === undefined ? null : element("section", { class: "panel stack" }, element("h3", {}, "Metadata"),
      element("pre", { class: "code", tabindex: "0" }, text(JSON.stringify(request.metadata, null, 2), 10000))),
    content("Payload", request.payload), content("Result", request.result), content("Error", request.error),
    request.detail ? element("p", {}, text(request.detail, 2000)) : null,
    timeline(request.timeline, attempted),
    deliveries.length > ATTEMPTED ? element("p", { class: "dim" }, `The attempts of the last ${ATTEMPTED} deliveries are in the timeline.`) : null,
    deliveries.length ? table("Deliveries", ["delivery", "status", "url", "attempts"], deliveries.map((delivery) => [
      toDelivery(delivery.id), status(delivery.status), text(delivery.url), String(delivery.attempts)])) : null,
    request.headers.length ? element("details", {}, element("summary", {}, "Headers of the call"), table("Headers", ["name", "value"],
      request.headers.slice(0, 200).map(([name, value]) => [text(name), text(value, 2000)]), null)) : null);
}

async function draw(into, id, ended, given) {
  if (id) return one(into, id, ended);
  return list(into, ended, {
    name: "Requests", path: "api/requests", given,
    fields: [["status", "Status", STATUSES], ["route", "Route", null], ["id", "Id begins with", null],
      ["token", "Token", null], ["since", "Since (2h, or a time)", null], ["until", "Until", null]],
    columns: ["status", "id", "route", "created", "finished"],
    row: (request) => [status(request.status), link(request.id), text(request.route), time(request.created),
      time(request.finished)],
  });
}

export const requests = { name: "requests", title: "Requests", every: 5, everyOne: 3, draw,
  watches: (changes, id) => (id ? about(changes, id) : changes.requests.length > 0) };
