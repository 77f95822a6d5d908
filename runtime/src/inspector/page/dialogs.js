// The dialogs: how an inbox answers, sending again, comparing, help.
import { decode } from "./shared/body.js";
import { button, call, element, fill, tag, toast } from "./shared/dom.js";
import { clock, duration, visible } from "./shared/format.js";
import { diffView } from "./diff.js";

// Shows a dialog, and removes it when it is closed.
function dialog(title, ...children) {
  const made = element("dialog", { "aria-label": title }, element("div", { class: "stack" },
    element("div", { class: "row" }, element("h2", { class: "grow" }, title), button("Close", () => made.close())), ...children));
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
  return made;
}

const ANSWERS = [
  ["accept", "as a receiver should: 204, or passed on"], ["500", "500, an error"], ["503", "503, not available"], ["429", "429, too many: with Retry-After"],
  ["410", "410, gone: no further webhooks, please"], ["redirect", "a redirect"], ["hang", "no answer: hangs"], ["reset", "no answer: resets the connection"], ["drip", "slowly: one byte a second"],
];

export async function behaviours() { return (await call("GET", "api/inboxes")).behaviours; }

export function describe(behaviour) {
  const answer = typeof behaviour.answer === "object" ? String(behaviour.answer.status) : behaviour.answer;
  return [answer, behaviour.share < 100 && `${behaviour.share} %`, behaviour.times && `${behaviour.times} times`].filter(Boolean).join(", ");
}

export async function askBehaviour(inboxes, chosen, tell) {
  const select = element("select", { id: "answer-inbox" }, ...inboxes.map((name) => element("option", { value: name }, visible(name))));
  select.value = chosen;
  const answer = element("select", { id: "answer-kind" }, ...ANSWERS.map(([value, text]) => element("option", { value }, text)));
  const number = (id, value, min, max) => element("input", { id, type: "number", value, min, max, required: true });
  const share = number("answer-share", 100, 1, 100), times = number("answer-times", 0, 0, 1000000), retry = number("answer-retry", 5, 0, 86400);
  const now = element("div", { class: "row" });
  const draw = (all) => {
    const set = Object.entries(all);
    fill(now, set.length === 0 ? element("p", { class: "dim" }, "All inboxes answer as a receiver should.") : set.map(([name, one]) => tag(`${visible(name)}: ${describe(one)}`, "warn")));
    tell(all);
  };
  const set = async () => {
    const kind = answer.value;
    const wanted = { answer: /^\d+$/.test(kind) ? { status: Number(kind) } : kind, share: Number(share.value) };
    if (kind === "429" || kind === "503") wanted.retry_after = Number(retry.value);
    if (Number(times.value) > 0) wanted.times = Number(times.value);
    try {
      draw((await call("PUT", `api/inboxes/${encodeURIComponent(select.value)}`, wanted)).behaviours);
      toast(kind === "accept" ? `${select.value} accepts webhooks` : `${select.value} answers ${kind}`);
    } catch (error) { toast(error.message); }
  };
  dialog("How an inbox answers",
    element("p", { class: "dim" }, "Answer badly, and watch how the sender deals with it."),
    element("div", { class: "row" }, element("label", {}, "Inbox", select), element("label", {}, "answers", answer)),
    element("div", { class: "row" }, element("label", {}, "for % of the webhooks", share), element("label", {}, "so many times (0: always)", times), element("label", {}, "Retry-After of 429 and 503, s", retry)),
    element("div", { class: "row" }, button("Set", set, { class: "main" })), now);
  draw(await behaviours().catch(() => ({})));
}

const REMEMBERED = "postback-resend-url";

export function resend(hit, canSign) {
  const text = decode(hit.data);
  let before = "";
  try { before = localStorage.getItem(REMEMBERED) ?? ""; } catch { /* the browser keeps nothing */ }
  const url = element("input", { id: "send-url", type: "url", class: "mono grow", value: before || `${location.origin}${hit.path}`, "aria-label": "URL", required: true });
  const repeat = element("input", { id: "send-repeat", type: "number", min: 1, max: 50, value: 1 });
  const sign = element("input", { id: "send-sign", type: "checkbox", checked: canSign && hit.webhook_id !== null, disabled: !canSign || hit.webhook_id === null });
  const headers = element("textarea", { id: "send-headers", rows: 6, "aria-label": "headers" });
  headers.value = hit.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  const headersBefore = headers.value;
  const body = element("textarea", { id: "send-body", rows: 10, "aria-label": "body", disabled: text === null });
  body.value = text ?? "(these bytes are no text; they are sent as they came)";
  const bodyBefore = body.value;
  const results = element("ol", { id: "send-results", class: "stack" });
  const send = async (event) => {
    const wanted = { url: url.value.trim(), repeat: Number(repeat.value), sign: sign.checked };
    if (headers.value !== headersBefore) {
      wanted.headers = headers.value.split("\n").filter((line) => line.trim()).map((line) => { const at = line.indexOf(":"); return [line.slice(0, at < 0 ? line.length : at).trim(), at < 0 ? "" : line.slice(at + 1).trim()]; });
    }
    // What was not edited is sent byte for byte. A text area would change its line breaks.
    if (text !== null && body.value !== bodyBefore) wanted.body = body.value;
    event.target.disabled = true;
    try { localStorage.setItem(REMEMBERED, wanted.url); } catch { /* the browser keeps nothing */ }
    try {
      const { sent } = await call("POST", `api/hits/${hit.number}/resend`, wanted);
      fill(results, sent.map((one) => element("li", {}, one.error ? tag(one.error, "bad") : tag(String(one.status), one.status < 300 ? "good" : "bad"), one.error ? "" : ` in ${duration(one.after_ms)} ${visible(one.body.slice(0, 300))}`)));
    } catch (error) { fill(results, element("li", { class: "bad" }, error.message)); }
    event.target.disabled = false;
  };
  dialog("Send again",
    element("p", { class: "dim" }, "This machine sends it to any URL that it reaches, also on your own network."),
    element("div", { class: "row" }, url),
    element("div", { class: "row" }, element("label", {}, "times", repeat), element("label", {}, "sign anew, with the time of now", sign), button("Send", send, { class: "main", id: "send-now" })),
    results,
    element("details", {}, element("summary", {}, "Edit before"), element("div", { class: "stack" }, element("h3", {}, "Headers"), headers, element("h3", {}, "Body"), body)));
}

export async function compare(hit, list, load) {
  const others = list.newest(100).filter((other) => other.number !== hit.number);
  if (others.length === 0) { toast("there is no other webhook to compare with"); return; }
  // The attempt before is the most likely one.
  const attempts = list.attempts(hit.number).filter((other) => other.number !== hit.number);
  const before = attempts.filter((other) => other.number < hit.number).at(-1) ?? attempts[0] ?? others[0];
  const select = element("select", { id: "other", "aria-label": "the other webhook" }, ...others.map((other) =>
    element("option", { value: other.number }, visible(`#${other.number} ${clock(other.received_ms)} ${other.path.slice(0, 40)} ${other.status} ${other.attempt > 1 ? `attempt ${other.attempt}` : ""}`))));
  if (!others.includes(before)) select.append(element("option", { value: before.number }, `#${before.number}`));
  select.value = String(before.number);
  const place = element("div");
  const draw = async () => {
    try {
      const other = await load(Number(select.value));
      fill(place, other.number < hit.number ? diffView(other, hit) : diffView(hit, other));
    } catch (error) { fill(place, element("p", { class: "bad" }, error.message)); }
  };
  select.addEventListener("change", draw);
  dialog(`Compare webhook ${hit.number}`, element("div", { class: "row" }, element("label", {}, "with", select)), place);
  await draw();
}

export function help() {
  const keys = [["/", "go to the filter"], ["j k", "next, previous (also ↓ ↑)"], ["c", "copy as curl"], ["r", "send again"], ["d", "compare"], ["Esc", "leave"], ["?", "this help"]];
  const filters = [["status=failed", "a member of the report"], ["inbox=orders path=/orders/new", "all terms have to hold"], ["signature=invalid", "valid, invalid, unsigned, unchecked"], ["answer=503 attempt=2", "what was answered"],
    ["header.x-team=blue", "a header"], ["body.result.sum=42", "a member of a JSON body"], ["status!=completed", "not"], ['"two words"', "in the path, the headers or the body"]];
  const table = (rows, box) => element("table", {}, element("tbody", {}, ...rows.map(([name, told]) => element("tr", {}, element("td", {}, element(box, {}, name)), element("td", {}, told)))));
  dialog("Help", element("h3", {}, "Keys"), table(keys, "kbd"), element("h3", {}, "Filters"), table(filters, "code"));
}
