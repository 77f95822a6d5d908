// What lists have in common: filters, a table, and pages by cursor.
import { button, call, element, fill, tag } from "./shared/dom.js";
import { moment, short, visible } from "./shared/format.js";

const KINDS = {
  completed: "good", delivered: "good", failed: "bad", dead: "bad", refused: "bad", gone: "bad",
  cancelled: "warn", parked: "warn", held: "warn",
};

export const status = (name) => tag(name, KINDS[name] ?? "");
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

export function table(name, columns, rows) {
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, element("table", {},
    element("thead", {}, element("tr", {}, columns.map((column) => element("th", { scope: "col" }, column)))),
    element("tbody", {}, rows.map((cells) => element("tr", {}, cells.map(cellOf))))));
}

// Reads a page. The server looks at a bounded number of rows for each page, so a page may be short or empty and have a
// next one. This reads on until there is something to show, at most ten times.
export async function page(path, filters, cursor) {
  let items = [];
  for (let turn = 0; turn < 10; turn += 1) {
    const query = new URLSearchParams(filters);
    if (cursor) query.set("cursor", cursor);
    const read = await call("GET", `${path}?${query}`);
    items = items.concat(read.items);
    cursor = read.next;
    if (!cursor || items.length > 0) break;
  }
  return { items, next: cursor };
}

const lists = new WeakMap(); // what reads the first page of a list anew, by the element that shows it

// Draws a list with filters into an element, or reads the first page of the list anew if the element shows it already. `fields` are [name, label, choices or null, first choice]; a field with a first choice has no choice "all".
// `above(filters, load)` makes what stands between the filters and the rows, once. `changed()` is told of other filters.
export function list(into, ended, { name, path, fields, columns, row, above, changed }) {
  const again = lists.get(into);
  if (again) return again();
  const filters = Object.fromEntries(fields.filter(([, , , first]) => first).map(([field, , , first]) => [field, first]));
  let cursors = [null];
  const body = element("div", { class: "stack" });
  const load = async () => {
    const asked = cursors[cursors.length - 1];
    let read;
    try {
      read = await page(path, filters, asked);
    } catch (error) {
      drawn.delete(body);
      fill(body, element("p", { class: "bad", role: "alert" }, error.message));
      return;
    }
    // Another page may have been asked for while this one came.
    if (ended.aborted || asked !== cursors[cursors.length - 1] || !isNew(body, [read, cursors.length])) return;
    fill(body,
      read.items.length ? table(name, columns, read.items.map((item) => row(item, load)))
        : element("p", { class: "dim" }, read.next ? "Nothing among these rows; look further." : "Nothing here."),
      element("div", { class: "row" },
        button("First", () => { cursors = [null]; load(); }, { disabled: cursors.length === 1 }),
        button("Next", () => { cursors.push(read.next); load(); }, { disabled: !read.next })));
  };
  const change = (field) => (event) => {
    filters[field] = event.target.value.trim();
    cursors = [null];
    changed?.();
    load();
  };
  const controls = fields.map(([field, label, choices, first]) => element("label", {}, label, choices
    ? element("select", { name: field, onchange: change(field) },
      first ? null : element("option", { value: "" }, "all"), choices.map((choice) => element("option", { value: choice }, choice)))
    : element("input", { name: field, onchange: change(field), maxlength: 2000, spellcheck: "false" })));
  fill(into, element("h2", {}, name), element("div", { class: "row" }, controls, button("Reload", load)), above?.(filters, load) ?? null, body);
  lists.set(into, () => (cursors.length === 1 ? load() : undefined));
  return load();
}

// Whether this is not what the element shows already. Drawing the same again would take the focus and the selection.
const drawn = new WeakMap();
export function isNew(into, value) {
  const now = JSON.stringify(value);
  if (drawn.get(into) === now) return false;
  drawn.set(into, now);
  return true;
}

// Shows a payload, a result or the body of a report.
export function content(title, value) {
  if (!value) return null;
  const what = value.text ?? (value.base64 === undefined ? "" : `base64: ${value.base64}`);
  const note = value.truncated ? ` (the first part of ${value.bytes} bytes)` : ` (${value.bytes} bytes)`;
  return element("section", { class: "panel stack" }, element("h3", {}, title + note),
    element("pre", { class: "code", tabindex: "0" }, visible(what)));
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
