// What views have in common: tables, times, figures, and contents.
import { bodyView } from "./shared/body.js";
import { element, tag } from "./shared/dom.js";
import { moment, short, visible } from "./shared/format.js";

const KINDS = {
  completed: "good", delivered: "good", failed: "bad", dead: "bad", refused: "bad", gone: "bad",
  cancelled: "warn", parked: "warn", held: "warn",
};

export const status = (name, kind = KINDS[name] ?? "") => tag(String(name), kind);
export const text = (value, most = 200) => visible(short(String(value ?? ""), most));

// A time as the clock of the browser shows it. The API gives it in the form of RFC 3339.
export function time(value) {
  if (!value) return "";
  const ms = Date.parse(value);
  return Number.isNaN(ms) ? text(value) : element("time", { datetime: text(value), title: text(value) }, moment(ms));
}

// A cell of a table. A long text is broken into lines; all else stays on one line, and the table scrolls.
function cellOf(content) {
  return element("td", { class: typeof content === "string" && content.length > 60 ? "long" : null }, content);
}

export const cellsOf = (cells) => cells.map(cellOf);

// `caption` is shown above the rows. `null`: a heading says the same already.
export function table(name, columns, rows, caption = name) {
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, element("table", {},
    caption ? element("caption", {}, caption) : null,
    element("thead", {}, element("tr", {}, columns.map((column) => element("th", { scope: "col" }, column)))),
    element("tbody", {}, rows.map((cells) => element("tr", {}, cellsOf(cells))))));
}

// Whether this is not what the element shows already. Drawing the same again would take the focus and the selection.
const drawn = new WeakMap();
export function isNew(into, value) {
  const now = JSON.stringify(value);
  if (drawn.get(into) === now) return false;
  drawn.set(into, now);
  return true;
}

// Shows a payload, a result or the body of a report: JSON with colours, other text, or bytes.
export function content(title, value) {
  if (!value) return null;
  const data = value.text === undefined ? Uint8Array.from(atob(value.base64 ?? ""), (c) => c.charCodeAt(0)) : new TextEncoder().encode(value.text);
  const note = value.truncated ? ` (the first part of ${value.bytes} bytes)` : ` (${value.bytes} bytes)`;
  return element("section", { class: "panel stack" }, element("h3", {}, title + note), value.bytes === 0 ? null : bodyView(data, title));
}

export function pairs(entries) {
  const shown = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", { class: "facts panel" }, shown.map(([name, value]) => element("div", {},
    element("dt", {}, name), element("dd", {}, value instanceof Node ? value : text(value)))));
}

// Figures that are read from afar.
export function figures(entries) {
  const drawnPairs = pairs(entries);
  drawnPairs.className = "figures panel";
  return drawnPairs;
}
