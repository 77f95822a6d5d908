// Origins: circuits, waiting reports, and what is disabled. Enables and disables origins and URLs.
import { button, call, element, fill, tag, toast } from "../shared/dom.js";
import { list, reload as again } from "../list.js";
import { text, time } from "../table.js";

// An origin has no path, and a URL has one.
const isOrigin = (name) => /^[a-z]+:\/\/[^/]+\/?$/i.test(name);
const pathOf = (name, what) => `api/${isOrigin(name) ? "origins" : "endpoints"}/${what}`;
const CIRCUITS = { closed: "good", open: "bad", testing: "warn" };

async function enable(name, load) {
  try {
    const { enabled } = await call("POST", pathOf(name, "enable"), { url: name });
    toast(`enabled; ${enabled.reduce((sum, { reports }) => sum + reports, 0)} held reports are sent now`);
    await load();
  } catch (error) {
    toast(error.message);
  }
}

async function disable(name, reason, load, said = toast) {
  try {
    await call("POST", pathOf(name, "disable"), reason ? { url: name, reason } : { url: name });
    toast("disabled; its reports are held");
    await load();
    return true;
  } catch (error) {
    said(error.message);
    return false;
  }
}

// Both lists are read again after a change, because an origin may be in both.
function form(reload) {
  const url = element("input", { name: "name", required: true, maxlength: 2000, spellcheck: "false", placeholder: "https://hooks.example.com" });
  const reason = element("input", { name: "reason", maxlength: 200 });
  const place = element("div", {});
  const refuse = (why) => fill(place, element("span", { class: "bad", role: "alert" }, why));
  const send = async (event) => {
    event.preventDefault();
    fill(place);
    if (await disable(url.value.trim(), reason.value.trim(), reload, refuse)) { url.value = ""; reason.value = ""; }
  };
  return element("form", { class: "panel row", onsubmit: send }, element("label", {}, "URL or origin", url),
    element("label", {}, "Reason", reason), element("button", { class: "danger" }, "Disable"), place);
}

const parts = new WeakMap(); // the two lists, by the element that shows them

function draw(into, _, ended) {
  if (!parts.has(into)) {
    const [origins, disabled] = [element("div", { class: "stack" }), element("div", { class: "stack" })];
    parts.set(into, { origins, disabled });
    fill(into, form(() => Promise.all([again(origins), again(disabled)])), origins, disabled);
  }
  const { origins, disabled } = parts.get(into);
  const reload = () => Promise.all([again(origins), again(disabled)]);
  return Promise.all([
    list(origins, ended, {
      name: "Origins", path: "api/origins", fields: [], key: (origin) => origin.origin,
      columns: ["origin", "circuit", "next test", "parked", "held", "change"],
      row: (origin) => [text(origin.origin), tag(text(origin.circuit), CIRCUITS[origin.circuit] ?? ""), time(origin.test_at),
        String(origin.parked), String(origin.held), origin.disabled
          ? button("Enable", () => enable(origin.origin, reload))
          // What the API does not show of a URL is missing in its name, so such a URL cannot be disabled by it.
          : isOrigin(origin.origin) ? button("Disable", () => disable(origin.origin, "", reload), { class: "danger" }) : ""],
    }),
    list(disabled, ended, {
      name: "Disabled URLs and origins", path: "api/endpoints", fields: [], key: (endpoint) => endpoint.url,
      columns: ["url", "since", "by", "reason", "held", "change"],
      row: (endpoint) => [text(endpoint.url), time(endpoint.since), text(endpoint.by), text(endpoint.reason), String(endpoint.held),
        button("Enable", () => enable(endpoint.url, reload))],
    }),
  ]);
}

export const origins = { name: "origins", title: "Origins", every: 5, draw };
