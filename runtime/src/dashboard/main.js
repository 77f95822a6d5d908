// Starts the dashboard: logs in, and shows the view that the address names. `#requests/ID` is the view and its argument.
import { byId, call, element, fill } from "./shared/dom.js";
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

function askForToken(why) {
  for (const id of ["views", "search", "out"]) byId(id).hidden = true;
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
  const [name, argument] = location.hash.slice(1).split("/");
  const view = views.find((one) => one.name === name) ?? views[0];
  shown?.abort();
  shown = new AbortController();
  const ended = shown.signal;
  fill(byId("views"), views.map((one) => element("a",
    { href: `#${one.name}`, "aria-current": one === view ? "page" : null }, one.title)));
  document.title = `${view.title} · Postback`;
  const into = element("div", { class: "stack" });
  fill(place, into);
  let id;
  try {
    id = argument ? decodeURIComponent(argument) : "";
  } catch {
    id = argument;
  }
  repeat(() => view.draw(into, id, ended), id ? view.everyOne : view.every, ended, into);
}

// Draws now, and again each `seconds` while the page is seen. A hidden page costs the server nothing.
async function repeat(draw, seconds, ended, into) {
  while (!ended.aborted) {
    if (!document.hidden) {
      try {
        await draw();
      } catch (error) {
        if (ended.aborted) return;
        if (!(await isOpen().catch(() => true))) return askForToken(new Error("the session has ended; log in again"));
        fill(into, problem(error));
      }
    }
    if (!seconds || ended.aborted) return;
    await new Promise((resolve) => {
      const wake = () => { clearTimeout(timer); document.removeEventListener("visibilitychange", wake); resolve(); };
      const timer = setTimeout(wake, seconds * 1000);
      document.addEventListener("visibilitychange", wake);
      ended.addEventListener("abort", wake, { once: true });
    });
  }
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
  for (const id of ["views", "search", "out"]) byId(id).hidden = false;
  show();
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) start();
  else if (!byId("views").hidden) show();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest?.("input, textarea, select")) return;
  event.preventDefault();
  byId("id").focus();
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("id").value.trim();
  if (id) location.hash = `requests/${encodeURIComponent(id)}`;
});
byId("out").addEventListener("click", async () => {
  try { await call("DELETE", "session"); } finally { shown?.abort(); askForToken(); }
});
start();
