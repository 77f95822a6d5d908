// The settings that the server uses. The server masks the secrets. Reads the file again.
import { button, call, element, fill } from "../shared/dom.js";
import { isNew, table, text } from "../table.js";

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

async function reload(place) {
  try {
    const { applied, needs_restart: later, warnings } = await call("POST", "api/settings/reload");
    const changes = [applied.length && `In use now: ${applied.join(", ")}.`, later.length && `After a restart: ${later.join(", ")}.`]
      .filter(Boolean);
    if (changes.length === 0) changes.push("Nothing has changed.");
    fill(place, text(changes.join(" "), 2000), warnings.map((warning) => element("span", { class: "warn" }, ` ${text(warning, 1000)}`)));
  } catch (error) {
    // The mistakes in the file stay on the page until they are corrected.
    fill(place, element("span", { class: "bad" }, error.message));
  }
}

const parts = new WeakMap(); // the body, by the element of the view

async function draw(into, _, ended) {
  const read = await call("GET", "api/settings");
  if (ended.aborted) return;
  if (!parts.has(into)) {
    const [said, body] = [element("p", { role: "status" }), element("div", { class: "stack" })];
    parts.set(into, body);
    fill(into, element("h2", {}, "Settings"), element("div", { class: "row" }, button("Read again", () => reload(said)), said), body);
  }
  const body = parts.get(into);
  if (!isNew(body, read)) return;
  fill(body, element("p", { class: "dim" }, read.file ? `The settings file is ${text(read.file, 1000)}.` : "There is no settings file."),
    table("Settings", ["key", "value"], Object.entries(read.settings).map(([key, value]) => [
      element("span", { class: "mono" }, text(key)), text(shown(value), 1000)]), null));
}

export const settings = { name: "settings", title: "Settings", every: 10, draw };
