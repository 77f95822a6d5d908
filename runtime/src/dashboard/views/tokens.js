// Tokens of callers: the list, a new one, whose secret is shown once, and revoke.
import { ask } from "../ask.js";
import { button, call, copy, element, fill, tag, toast } from "../shared/dom.js";
import { list } from "../list.js";
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

function form(load) {
  const name = element("input", { name: "name", required: true, maxlength: 200, autocomplete: "off" });
  const routes = element("input", { name: "routes", maxlength: 2000, spellcheck: "false", placeholder: "all" });
  const boxes = SCOPES.map((scope) => element("input", { type: "checkbox", name: "scope", value: scope, checked: true }));
  const place = element("div", { role: "status" });
  const make = async (event) => {
    event.preventDefault();
    try {
      const { items } = await call("GET", "api/tokens?limit=1");
      if (items.length === 0 && !(await ask(FIRST, "Make it"))) return;
      const created = await call("POST", "api/tokens", {
        name: name.value.trim(), scopes: boxes.filter((box) => box.checked).map((box) => box.value),
        routes: routes.value.split(/[\s,]+/).filter(Boolean),
      });
      name.value = "";
      fill(place, element("div", { class: "stack" },
        element("p", {}, "This is the new token. Nobody can show it again: copy it now."),
        element("code", { id: "secret", class: "code" }, created.token),
        element("div", { class: "row" }, button("Copy", () => copy(created.token)), button("Hide", () => fill(place)))));
      await load();
    } catch (error) {
      fill(place, element("p", { class: "bad" }, error.message));
    }
  };
  return element("form", { class: "panel stack", onsubmit: make }, element("div", { class: "row" },
    element("label", {}, "Name", name), element("label", {}, "Routes", routes),
    boxes.map((box) => element("label", { class: "row" }, box, box.value)),
    element("button", { class: "main" }, "New token")), place);
}

function draw(into, _, ended) {
  return list(into, ended, {
    name: "Tokens", path: "api/tokens", fields: [], above: (filters, load) => form(load),
    columns: ["name", "id", "may", "routes", "made in", "created", "expires", "last used", "change"],
    row: (token, load) => [text(token.name), element("span", { class: "mono" }, text(token.id)), text(token.scopes.join(", ")),
      text(token.routes?.join(", ") ?? "all"), text(token.source), time(token.created), time(token.expires), time(token.last_used),
      token.revoked ? tag("revoked", "bad")
        : token.source === "store" ? button("Revoke", () => revoke(token, load), { class: "danger" }) : ""],
  });
}

export const tokens = { name: "tokens", title: "Tokens", every: 10, draw };
