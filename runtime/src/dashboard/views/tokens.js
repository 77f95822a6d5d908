// Tokens of callers: the list, a new one, whose secret is shown once, and revoke.
import { ask } from "../ask.js";
import { button, call, copy, element, fill, tag, toast } from "../shared/dom.js";
import { list } from "../list.js";
import { bytes } from "../shared/format.js";
import { text, time } from "../table.js";

const SCOPES = ["submit", "read", "cancel"];
// The server closes itself to callers without a token when it gets its first one.
const FIRST = "This is the first token. From then on, calls without a token are refused. Make it?";

async function revoke(token, load) {
  if (!(await ask(`Revoke the token ${text(token.name)}? Its callers are refused at once, for ever.`, "Revoke it"))) return;
  try {
    await call("DELETE", `api/tokens/${encodeURIComponent(token.id)}`);
    toast("revoked");
    await load();
  } catch (error) {
    toast(error.message);
  }
}

const words = (value) => value.split(/[\s,]+/).filter(Boolean);
const UNITS = { "": 1, b: 1, kib: 1 << 10, mib: 1 << 20, gib: 1 << 30, kb: 1e3, mb: 1e6, gb: 1e9 };

function whole(label, value) {
  if (!/^[1-9]\d{0,14}$/.test(value)) throw new Error(`${label}: “${value}” is not a whole number from 1 on`);
  return Number(value);
}

function size(label, value) {
  const [, count, unit] = /^(\d+)\s*([a-z]*)$/i.exec(value) ?? [];
  const factor = UNITS[unit?.toLowerCase()];
  if (!factor || !Object.hasOwn(UNITS, unit.toLowerCase())) throw new Error(`${label}: “${value}” is not a size, such as 64MiB`);
  return whole(label, count) * factor;
}

// What a token may have besides: its name in the API, its label, an example, and how its text is read.
const LIMITS = [
  ["expires", "Expires", "2027-01-31", (label, value) => value],
  ["webhook_hosts", "Hosts of callers' webhooks", "all, or example.com *.example.com", (label, value) => words(value)],
  ["rate", "Calls", "no limit, or 100/min", (label, value) => value],
  ["max_queued", "Waiting requests", "no limit", whole],
  ["max_queued_bytes", "Bytes of waiting requests", "no limit, or 64MiB", size],
];

function limits() {
  const fields = LIMITS.map(([name, label, example]) => element("input", { id: `token-${name}`, name, placeholder: example, maxlength: 2000, spellcheck: "false", autocomplete: "off" }));
  return {
    element: element("details", {}, element("summary", {}, "Limits: expiry, hosts of webhooks, rate, waiting requests"),
      fields.map((field, at) => element("div", { class: "field" }, element("label", { for: field.id }, LIMITS[at][1]), field))),
    read: () => Object.fromEntries(LIMITS.map(([name, label, , of], at) => [name, fields[at].value.trim(), of, label])
      .filter(([, value]) => value).map(([name, value, of, label]) => [name, of(label, value)])),
    clear: () => { for (const field of fields) field.value = ""; },
  };
}

// What a token of the list may not do.
function limitsOf(token) {
  const parts = [token.rate, token.max_queued && `${token.max_queued} waiting`, token.max_queued_bytes && `${bytes(token.max_queued_bytes)} waiting`,
    token.webhook_hosts?.length && `webhooks to ${token.webhook_hosts.join(", ")}`];
  return text(parts.filter(Boolean).join("; "));
}

function form(load) {
  const more = limits();
  const name = element("input", { name: "name", required: true, maxlength: 200, autocomplete: "off" });
  const routes = element("input", { name: "routes", maxlength: 2000, spellcheck: "false", placeholder: "all" });
  const boxes = SCOPES.map((scope) => element("input", { type: "checkbox", name: "scope", value: scope, checked: true }));
  const place = element("div", { role: "status" });
  const make = async (event) => {
    event.preventDefault();
    try {
      const terms = more.read();
      const { items } = await call("GET", "api/tokens?limit=1");
      if (items.length === 0 && !(await ask(FIRST, "Make it"))) return;
      const created = await call("POST", "api/tokens", {
        name: name.value.trim(), scopes: boxes.filter((box) => box.checked).map((box) => box.value),
        routes: words(routes.value), ...terms,
      });
      name.value = "";
      more.clear();
      fill(place, element("div", { class: "stack" },
        element("p", {}, "This is the new token. Nobody can show it again: copy it now."),
        element("code", { id: "secret", class: "code" }, created.token),
        element("div", { class: "row" }, button("Copy", () => copy(created.token)), button("Hide", () => fill(place)))));
      await load();
    } catch (error) {
      fill(place, element("p", { class: "bad" }, text(error.message, 1000)));
    }
  };
  return element("form", { class: "panel stack", onsubmit: make }, element("div", { class: "row" },
    element("label", {}, "Name", name), element("label", {}, "Routes", routes),
    boxes.map((box) => element("label", { class: "row" }, box, box.value)),
    element("button", { class: "main" }, "New token")), more.element, place);
}

function draw(into, _, ended) {
  return list(into, ended, {
    name: "Tokens", path: "api/tokens", fields: [], above: (filters, load) => form(load),
    columns: ["name", "id", "may", "routes", "limits", "made in", "created", "expires", "last used", "change"],
    row: (token, load) => [text(token.name), element("span", { class: "mono" }, text(token.id)), text(token.scopes.join(", ")),
      text(token.routes?.join(", ") || "all"), limitsOf(token), text(token.source), time(token.created), time(token.expires), time(token.last_used),
      token.revoked ? tag("revoked", "bad")
        : token.source === "store" ? button("Revoke", () => revoke(token, load), { class: "danger" }) : ""],
  });
}

export const tokens = { name: "tokens", title: "Tokens", every: 10, draw };
