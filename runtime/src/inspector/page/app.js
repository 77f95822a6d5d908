// The page of the inspector: the feed, the filter, the keys. The list, the detail and the dialogs are in files of their own.
import { byId, call, copy, element, fill, toast } from "./shared/dom.js";
import { follow } from "./shared/live.js";
import { List } from "./list.js";
import { show, shown } from "./detail.js";
import { askBehaviour, behaviours, describe, help } from "./dialogs.js";
import { asCurl } from "./copy.js";

const list = new List(byId("list"), choose);
const inboxes = new Set(["default"]);
let feed, asked, checks = false, chosen = null;

function filterText() {
  const inbox = byId("inbox").value;
  return [inbox && `inbox="${inbox.replaceAll('"', "")}"`, byId("filter").value.trim()].filter(Boolean).join(" ");
}

function url() {
  const inbox = byId("inbox").value;
  return `${location.origin}/${inbox === "default" ? "" : inbox}`;
}

// Opens the feed anew. The server sends what matches the filter, first what it keeps.
function open() {
  feed?.close();
  list.clear();
  count();
  feed = follow(`api/feed?filter=${encodeURIComponent(filterText())}`, {
    fault: (data) => { byId("fault").textContent = data.detail; feed.close(); },
    ready: (data) => { checks = data.checks; empty(); },
    clear: () => { list.clear(); count(); empty(); },
    seen: (data) => { list.forget(data.oldest); count(); empty(); },
    hit: (data) => {
      list.put(data);
      list.forget(data.oldest);
      know(data.inbox);
      count();
      empty();
      // A number of bad answers may be used up.
      if (data.answer && misbehaves()) { clearTimeout(asked); asked = setTimeout(() => behaviours().then(tellBehaviours).catch(() => {}), 300); }
      if (chosen === data.number && shown()?.answer === null && data.answer) choose(data.number);
    },
  }, (state) => {
    byId("state").textContent = state === "live" ? "live" : "reconnecting";
    byId("state").className = `tag ${state === "live" ? "good" : "warn"}`;
  });
}

function know(inbox) {
  if (inboxes.has(inbox)) return;
  inboxes.add(inbox);
  if (inboxes.size <= 200) byId("inbox").append(element("option", { value: inbox }, inbox));
}

function count() {
  byId("count").textContent = list.size === 0 ? "" : list.size === 1 ? "1 webhook" : `${list.size} webhooks`;
}

function empty() {
  byId("empty").hidden = list.size > 0;
  byId("address").textContent = url();
  byId("empty").querySelector("h2").textContent = filterText() ? "No webhook matches" : "No webhook yet";
  byId("try").textContent = `curl -d '{"id":"q-1","status":"completed"}' -H 'content-type: application/json' ${url()}`;
}

async function choose(number) {
  chosen = number;
  list.choose(number);
  if (number === null) {
    document.body.classList.remove("reading");
    return;
  }
  document.body.classList.add("reading");
  await show(number, { list, checks, choose });
}

function restart() {
  byId("fault").textContent = "";
  open();
}

let typed;
byId("filter").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(restart, 250); });
byId("inbox").addEventListener("change", () => { restart(); empty(); });
byId("address").addEventListener("click", () => copy(url()));
byId("clear").addEventListener("click", async () => {
  const inbox = byId("inbox").value;
  await call("DELETE", "api/hits", inbox ? { inbox } : {}).catch((error) => toast(error.message));
  fill(byId("detail"));
  choose(null);
});
byId("misbehave").addEventListener("click", () => askBehaviour([...inboxes], byId("inbox").value || "default", tellBehaviours));
byId("help").addEventListener("click", help);

function misbehaves() { return byId("misbehave").getAttribute("aria-pressed") === "true"; }

function tellBehaviours(all) {
  const names = Object.keys(all);
  const button = byId("misbehave");
  button.setAttribute("aria-pressed", String(names.length > 0));
  button.textContent = names.length === 0 ? "Answers…" : names.length === 1 ? `Answers: ${describe(all[names[0]])}` : `Answers: ${names.length} inboxes`;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const press = (selector) => byId("detail").querySelector(selector)?.click();
  const actions = {
    "/": () => byId("filter").focus(),
    j: () => list.move(1), ArrowDown: () => list.move(1),
    k: () => list.move(-1), ArrowUp: () => list.move(-1),
    Escape: () => choose(null),
    c: () => shown() && asCurl(shown()).then(copy),
    r: () => press("[data-action=resend]"),
    d: () => press("[data-action=compare]"),
    "?": help,
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// A link such as …/_inspector/#inbox=orders chooses an inbox.
const linked = new URLSearchParams(location.hash.slice(1)).get("inbox");
byId("inbox").append(element("option", { value: "default" }, "default"));
if (linked) {
  know(linked);
  byId("inbox").value = linked;
}
open();
empty();
behaviours().then(tellBehaviours).catch(() => {});
