// Starts the dashboard: logs in, and shows the view that the address names. `#requests/ID` is the view and its
// argument, and `#requests?status=failed` the view and its filters.
import { onState, start as startFeed, stop as stopFeed } from "./changes.js";
import { find } from "./find.js";
import { keep } from "./keep.js";
import { listen as keys } from "./keys.js";
import { byId, call, element, fill, toast } from "./shared/dom.js";
import { views } from "./views.js";

const place = byId("view");
let shown = null; // what ends the view that is shown

function problem(error) {
  return element("p", { class: "bad", role: "alert" }, error.message);
}

async function logIn(token) {
  const answer = await fetch("session", {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "x-postback-page": "1" },
  });
  if (answer.ok) return;
  if (answer.status === 401) throw new Error("this is not the token of this server");
  const value = await answer.json().catch(() => null);
  throw new Error(value?.detail ?? `the server answers ${answer.status}`);
}

const SESSION = ["views", "search", "live", "keys", "out"]; // what is there in a session only

function askForToken(why) {
  shown?.abort();
  stopFeed();
  for (const id of SESSION) byId(id).hidden = true;
  const field = element("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const said = element("div", {}, why ? problem(why) : null);
  const send = async (event) => {
    event.preventDefault();
    try {
      await logIn(field.value.trim());
      location.hash = "";
      start();
    } catch (error) {
      fill(said, problem(error));
    }
  };
  fill(place, element("form", { class: "panel stack", onsubmit: send },
    element("h2", {}, "Log in"),
    element("p", { class: "dim" }, "Use server.admin_token, or open the link that the server printed when it started."),
    element("label", { for: "token" }, "Token"), field,
    element("div", { class: "row" }, element("button", { class: "main" }, "Log in")), said));
  field.focus();
}

// Shows the view that the address names. A view is a function that draws into its element, and returns what ends it.
function show() {
  const [address, query] = location.hash.slice(1).split("?");
  const [name, argument] = address.split("/");
  const given = Object.fromEntries(new URLSearchParams(query));
  const view = views.find((one) => one.name === name) ?? views[0];
  shown?.abort();
  shown = new AbortController();
  const ended = shown.signal;
  fill(byId("views"), views.map((one) => element("a",
    { href: `#${one.name}`, "aria-current": one === view ? "page" : null }, one.title)));
  document.title = `${view.title} · Postback`;
  const into = element("div", { class: "stack" });
  const trouble = element("div", {});
  fill(place, trouble, into);
  let id;
  try {
    id = argument ? decodeURIComponent(argument) : "";
  } catch {
    id = argument;
  }
  const when = { every: id ? view.everyOne : view.every, watches: view.watches && ((changes) => view.watches(changes, id)) };
  const draw = async () => {
    await view.draw(into, id, ended, given);
    fill(trouble);
  };
  keep(draw, when, ended, async (error) => {
    const isStillOpen = await isOpen().catch(() => true);
    // Another view may have been opened while the server answered.
    if (ended.aborted) return false;
    if (!isStillOpen) askForToken(new Error("the session has ended; log in again"));
    else fill(trouble, problem(error));
    return isStillOpen;
  });
}

async function isOpen() {
  return (await call("GET", "session")).open;
}

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (given) {
      // The token must not stay in the history of the browser.
      history.replaceState(null, "", location.pathname);
      await logIn(given);
    } else if (!(await isOpen())) {
      return askForToken();
    }
  } catch (error) {
    return askForToken(error);
  }
  for (const id of SESSION) byId(id).hidden = false;
  startFeed();
  show();
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) start();
  else if (!byId("views").hidden) show();
});
keys();
byId("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const id = byId("id").value.trim();
  if (!id) return;
  try {
    const found = await find(id);
    if (found) location.hash = found;
    else toast("no request and no delivery has this id");
  } catch (error) {
    toast(error.message);
  }
});
onState((live) => {
  const place = byId("live");
  place.textContent = live ? "live" : "not live";
  place.className = live ? "tag good" : "tag warn";
  place.title = live ? "rows change as the server changes them" : "the page asks every few seconds";
});
byId("out").addEventListener("click", async () => {
  try { await call("DELETE", "session"); } finally { askForToken(); }
});
start();
