// Try it: a form for each route, which makes a request and follows it to its end.
import { formOf } from "../form.js";
import { keep } from "../keep.js";
import { button, call, element, fill } from "../shared/dom.js";
import { jsonText } from "../shared/body.js";
import { text } from "../table.js";
import { about, one } from "./requests.js";

// What the page does not send: it belongs to programs.
const NOT_SHOWN = ["prefer", "x-request-id", "traceparent", "tracestate"];

// The routes that take a POST, with what the document says about each.
function routesOf(read) {
  return Object.entries(read.paths).filter(([, path]) => path.post).map(([path, { post }]) => {
    const [kind, content] = Object.entries(post.requestBody?.content ?? {})[0] ?? [null, {}];
    const example = content.example === undefined ? undefined : content.example;
    const headers = (post.parameters ?? []).filter(({ in: place, name }) => place === "header" && !NOT_SHOWN.includes(name.toLowerCase()));
    return { path, kind, schema: content.schema ?? {}, example, headers };
  });
}

// The part of the form that makes the body. Returns { element, read() }, which returns a text.
function bodyOf(route, schemas) {
  if (route.kind === null) return { element: element("p", { class: "dim" }, "This route takes no payload."), read: () => "" };
  const isJson = route.kind === "application/json";
  const editor = element("textarea", { id: "editor", class: "mono", rows: 10, spellcheck: "false" });
  const label = element("label", { for: "editor" }, isJson ? "Payload as JSON" : "Payload");
  const raw = element("div", { class: "stack" }, label, editor);
  const start = route.example === undefined ? "" : isJson ? JSON.stringify(route.example, null, 2) : String(route.example);
  editor.value = start;
  const form = isJson ? formOf(route.schema, schemas) : null;
  if (!form) return { element: raw, read: () => editor.value };
  if (route.example !== undefined) form.write(route.example);
  let isForm = true;
  const said = element("p", { class: "warn", role: "status", hidden: true });
  const tabs = ["Form", "JSON"].map((name) => button(name, () => turn(name === "Form")));
  const show = () => {
    tabs[0].setAttribute("aria-pressed", String(isForm));
    tabs[1].setAttribute("aria-pressed", String(!isForm));
    form.element.hidden = !isForm;
    raw.hidden = isForm;
  };
  const say = (why) => { said.textContent = why; said.hidden = !why; };
  function turn(toForm) {
    try {
      if (toForm && !isForm) {
        const value = JSON.parse(editor.value || "{}");
        form.write(value);
        const lost = Object.keys(value ?? {}).filter((name) => !Object.hasOwn(JSON.parse(form.read()) ?? {}, name));
        say(lost.length ? `The form has no field for: ${text(lost.join(", "))}` : "");
      } else if (!toForm && isForm) {
        const written = form.read() ?? "";
        editor.value = jsonText(written) ?? written;
        say("");
      }
    } catch (error) {
      return say(error.message);
    }
    isForm = toForm;
    show();
  }
  show();
  return {
    element: element("div", { class: "stack" }, element("div", { class: "row", role: "group", "aria-label": "how to write the payload" }, tabs), said, form.element, raw),
    read: () => (isForm ? form.read() ?? "" : editor.value),
  };
}

// The headers that a caller may send, because the body belongs to the handler.
function headersOf(route) {
  const fields = route.headers.map(({ name, description, schema }, at) => {
    const field = element("input", { id: `header-${at}`, autocomplete: "off", spellcheck: "false", maxlength: 4096,
      inputmode: schema?.type === "integer" ? "numeric" : null });
    return { name, field, shown: element("div", { class: "field" }, element("label", { for: `header-${at}` }, text(name)), field,
      element("span", { class: "dim hint" }, text(String(description ?? "").replaceAll("`", ""), 500))) };
  });
  const given = () => fields.filter(({ field }) => field.value.trim()).map(({ name, field }) => [name, field.value.trim()]);
  return { element: element("details", { class: "stack" }, element("summary", {}, "Headers: when it runs, priority, metadata"), fields.map(({ shown }) => shown)), given };
}

async function submit(route, type, headers, body) {
  const answer = await fetch(`api/requests?${new URLSearchParams({ route: route.path })}`, {
    method: "POST", body, headers: [["x-postback-page", "1"], ...(type ? [["content-type", type]] : []), ...headers],
  });
  const value = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(value?.detail ?? `the server answers ${answer.status}`);
  return value.id;
}

function formFor(route, schemas, ended) {
  const body = bodyOf(route, schemas);
  const headers = headersOf(route);
  const type = element("input", { id: "type", value: route.kind ?? "", maxlength: 200, spellcheck: "false" });
  const said = element("div", {});
  const place = element("div", { class: "stack", "aria-live": "off" });
  let following = null;
  const send = async (event) => {
    event.preventDefault();
    fill(said);
    try {
      const kind = route.kind === null ? null : route.kind === "application/json" ? route.kind : type.value.trim();
      const id = await submit(route, kind, headers.given(), body.read());
      following?.abort();
      following = new AbortController();
      ended.addEventListener("abort", () => following.abort(), { once: true });
      fill(said, element("p", { role: "status" }, "accepted as ", element("a", { class: "mono", href: `#requests/${encodeURIComponent(id)}` }, text(id))));
      const trouble = element("p", { class: "bad", role: "alert", hidden: true });
      const into = element("div", { class: "stack" });
      fill(place, trouble, into);
      const { signal } = following;
      const follow = () => one(into, id, signal).then(() => { trouble.hidden = true; });
      keep(follow, { every: 2, watches: (changes) => about(changes, id) }, signal, (error) => {
        trouble.textContent = error.message;
        trouble.hidden = false;
        return error.status !== 401;
      });
    } catch (error) {
      fill(said, element("p", { class: "bad", role: "alert" }, text(error.message, 2000)));
    }
  };
  const isRaw = route.kind !== null && route.kind !== "application/json";
  return element("div", { class: "stack" }, element("form", { class: "panel stack", onsubmit: send }, body.element,
    isRaw ? element("div", { class: "field" }, element("label", { for: "type" }, "Content type"), type) : null, headers.element,
    element("div", { class: "row" }, element("button", { class: "main" }, "Submit"), said)), place);
}

async function draw(into, path, ended) {
  const read = await call("GET", "api/routes/openapi.json");
  if (ended.aborted) return;
  const routes = routesOf(read);
  const route = routes.find((one) => one.path === path) ?? routes[0];
  if (!route) return fill(into, element("h2", {}, "Try it"), element("p", {}, "This program has no routes."));
  const choice = element("select", { name: "route", onchange: (event) => { location.hash = `try/${encodeURIComponent(event.target.value)}`; } },
    routes.map((one) => element("option", { value: one.path, selected: one === route }, text(one.path))));
  fill(into, element("h2", {}, "Try it"), element("div", { class: "row" }, element("label", {}, "Route", choice),
    element("span", { class: "dim" }, "The request is real: its handler runs, and its reports are sent.")),
  formFor(route, read.components?.schemas ?? {}, ended));
}

export const tryIt = { name: "try", title: "Try it", draw };
