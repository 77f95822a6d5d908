// Everything about one webhook.
import { bodyView, decode, hexView, textView } from "./shared/body.js";
import { button, byId, copy, element, fill, tag, toast } from "./shared/dom.js";
import { bytes, duration, moment, visible } from "./shared/format.js";
import { answerKind, answerText, statusKind } from "./list.js";
import { asCurl, asJson, asTest } from "./copy.js";
import { compare, resend } from "./dialogs.js";

let current = null;

// The webhook that is shown, with its bytes as `data`. Null if none is.
export function shown() { return current; }

export async function load(number) {
  const [detail, body] = await Promise.all([fetch(`api/hits/${number}`), fetch(`api/hits/${number}/body`)]);
  if (!detail.ok || !body.ok) throw new Error(`webhook ${number} is no longer kept`);
  return { ...await detail.json(), data: new Uint8Array(await body.arrayBuffer()) };
}

let wanted = 0;
export async function show(number, { list, checks, choose }) {
  const place = byId("detail");
  wanted = number;
  let hit;
  try { hit = await load(number); } catch (error) {
    current = null;
    fill(place, element("p", { class: "dim hint" }, error.message));
    return;
  }
  // Another one was chosen meanwhile.
  if (wanted !== number) return;
  current = hit;
  fill(place, title(hit, choose), actions(hit, list, checks), attempts(hit, list, choose), body(hit), signature(hit), headers(hit), facts(hit));
  place.scrollTop = 0;
}

function title(hit, choose) {
  return element("div", { class: "stack" },
    element("div", { class: "row" }, button("← Back", () => choose(null), { class: "back" }),
      element("h2", { class: "mono" }, visible(`${hit.method} ${hit.path}`))),
    element("div", { class: "row" },
      hit.status && tag(visible(hit.status), statusKind(hit.status)),
      hit.format && tag(`form ${hit.format}`),
      tag(hit.signature === "valid" ? "signature valid" : hit.signature === "invalid" ? "signature invalid" : hit.signature,
        { valid: "good", invalid: "bad" }[hit.signature] ?? ""),
      hit.answer ? tag(`answered ${answerText(hit.answer)}${hit.answer.what ? ` · ${visible(hit.answer.what)}` : ""}`, answerKind(hit.answer)) : tag("not answered yet", "warn"),
      hit.attempt > 1 && tag(`attempt ${hit.attempt}`),
      hit.problem && tag(hit.problem, "bad")));
}

function actions(hit, list, checks) {
  return element("div", { class: "row", role: "group", "aria-label": "actions" },
    button("Copy as curl", () => asCurl(hit).then(copy)),
    button("as JSON", () => copy(asJson(hit)), { "aria-label": "copy as JSON" }),
    button("as a test", () => copy(asTest(hit)), { "aria-label": "copy as a test" }),
    button("Send again…", () => resend(hit, checks), { "data-action": "resend" }),
    button("Compare…", () => compare(hit, list, load).catch((error) => toast(error.message)), { "data-action": "compare" }),
    button("Save bytes", () => save(hit)));
}

function save(hit) {
  const address = URL.createObjectURL(new Blob([hit.data], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `webhook-${hit.number}.bin`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function attempts(hit, list, choose) {
  const all = list.attempts(hit.number);
  if (all.length < 2) return null;
  const rows = all.map((one, at) => element("tr", {},
    element("td", {}, button(`${one.attempt}`, () => choose(one.number), { "aria-pressed": String(one.number === hit.number), "aria-label": `attempt ${one.attempt}` })),
    element("td", { class: "mono" }, moment(one.received_ms).slice(11)),
    element("td", {}, at === 0 ? "" : `+ ${duration(one.received_ms - all[at - 1].received_ms)}`),
    element("td", {}, tag(answerText(one.answer), answerKind(one.answer))),
    element("td", { class: "dim" }, one.answer ? `in ${duration(one.answer.after_ms)}` : "")));
  return element("section", { class: "panel stack", "aria-label": "attempts" }, element("h3", {}, `${all.length} attempts with this webhook-id`),
    element("table", {}, element("thead", {}, element("tr", {}, ...["attempt", "came at", "after", "answer", "took"].map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows)));
}

function body(hit) {
  const place = element("div");
  const text = decode(hit.data);
  const views = [["Pretty", () => bodyView(hit.data)], text !== null && ["Raw", () => textView(text)], ["Hex", () => hexView(hit.data)]].filter(Boolean);
  const buttons = views.map(([name, view], at) => button(name, () => turn(at, view), { "aria-pressed": "false" }));
  const turn = (at, view) => {
    buttons.forEach((one, other) => one.setAttribute("aria-pressed", String(other === at)));
    fill(place, hit.data.length === 0 ? element("p", { class: "dim" }, "The body is empty.") : view());
  };
  turn(0, views[0][1]);
  return element("section", { class: "panel stack", "aria-label": "body" },
    element("div", { class: "row" }, element("h3", { class: "grow" }, `Body · ${bytes(hit.data.length)}`), ...buttons), place);
}

function signature(hit) {
  const { check } = hit;
  const steps = check.steps.map((step) => element("li", { class: step.good === true ? "good" : step.good === false ? "bad" : "dim" },
    element("span", { "aria-label": step.good === true ? "passed:" : step.good === false ? "failed:" : "not checked:", role: "img" }, step.good === true ? "✓" : step.good === false ? "✗" : "–"),
    element("strong", {}, step.what), element("span", {}, visible(step.told))));
  const parts = [element("h3", {}, "Signature, step by step"), element("ul", { class: "steps" }, ...steps)];
  if (check.given.length > 0 && check.prefix !== null) {
    const text = decode(hit.data);
    parts.push(element("p", { class: "dim" }, `The signed text is webhook-id, webhook-timestamp and the ${bytes(hit.data.length)} of the body, with full stops between:`),
      element("pre", { class: "code signed", tabindex: "0", role: "region", "aria-label": "signed text" }, element("strong", { class: "k" }, visible(check.prefix)),
        text === null ? `(${bytes(hit.data.length)} that are no text)` : visible(text.slice(0, 4000)) + (text.length > 4000 ? " …" : "")));
    const rows = [...check.given.map((one) => ["given", one, check.expected.includes(one)]), ...check.expected.filter((one) => !check.given.includes(one)).map((one) => ["expected", one, null])];
    parts.push(element("table", { class: "headers" }, element("tbody", {}, ...rows.map(([name, value, same]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: same === true ? "good" : same === false && check.expected.length > 0 ? "bad" : "" }, visible(value)))))));
  }
  return element("section", { class: "panel stack", "aria-label": "signature" }, ...parts);
}

function headers(hit) {
  return element("section", { class: "panel stack", "aria-label": "headers" }, element("h3", {}, `Headers · ${hit.headers.length}`),
    element("table", { class: "headers" }, element("tbody", {}, ...hit.headers.slice(0, 200).map(([name, value]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, visible(value)))))));
}

function facts(hit) {
  const pairs = [
    ["came at", moment(hit.received_ms)],
    ["body took", duration(hit.arriving_ms)],
    ["answer took", hit.answer ? duration(hit.answer.after_ms) : "not answered yet"],
    ["inbox", visible(hit.inbox)],
    ["webhook-id", hit.webhook_id === null ? "none" : visible(hit.webhook_id)],
    ["protocol", hit.version],
    ["number", String(hit.number)],
  ];
  return element("section", { class: "panel stack", "aria-label": "timing" }, element("h3", {}, "Timing and names"),
    element("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", { class: "mono" }, value)])));
}
