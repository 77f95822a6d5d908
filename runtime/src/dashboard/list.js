// Lists: filters, rows that change where they are, and pages by cursor.
import { button, call, element, fill } from "./shared/dom.js";
import { cellsOf } from "./table.js";

const MOST = 200; // the largest page of the API
const USUAL = 50;
// Who has scrolled further down than this reads rows, and they must not move.
const TOP = 120;

// Reads a page. The server looks at a bounded number of rows for each page, so a page may be short or empty and have a
// next one. This reads on until there is something to show, at most ten times.
async function page(path, filters, cursor, limit) {
  let items = [];
  for (let turn = 0; turn < 10; turn += 1) {
    const query = new URLSearchParams(filters);
    if (cursor) query.set("cursor", cursor);
    if (limit !== USUAL) query.set("limit", limit);
    const read = await call("GET", `${path}?${query}`);
    items = items.concat(read.items);
    cursor = read.next;
    if (!cursor || items.length > 0) break;
  }
  return { items, next: cursor };
}

// Makes the rows of a table, and changes them later. A row that has not changed stays the same element, so that the focus
// and the selection stay where they are.
function rowsOf(name, columns, row, keysOf) {
  const body = element("tbody");
  const known = new Map(); // the rows, by key
  const made = (item, key, isNew) => {
    const now = JSON.stringify(item);
    let one = known.get(key);
    if (!one) {
      one = { line: element("tr", isNew ? { class: "fresh" } : {}), shown: null };
      const { line } = one;
      line.addEventListener("animationend", () => { line.className = ""; });
      known.set(key, one);
    }
    if (one.shown !== now) {
      if (one.shown === null) fill(one.line, cellsOf(row(item)));
      else {
        // What is the same in the row stays the same element, too.
        cellsOf(row(item)).forEach((cell, at) => { if (!cell.isEqualNode(one.line.children[at])) one.line.children[at].replaceWith(cell); });
        one.line.className = "fresh";
      }
      one.shown = now;
    }
    return one.line;
  };
  const place = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, element("table", {},
    element("thead", {}, element("tr", {}, columns.map((column) => element("th", { scope: "col" }, column)))), body));
  return {
    place,
    show(items, marks) {
      const keys = keysOf(items);
      const kept = new Set(keys);
      for (const [old, { line }] of known) if (!kept.has(old)) { line.remove(); known.delete(old); }
      const wanted = items.map((item, at) => made(item, keys[at], marks));
      wanted.forEach((line, at) => { if (body.children[at] !== line) body.insertBefore(line, body.children[at] ?? null); });
    },
    update(items) { keysOf(items).forEach((key, at) => { if (known.has(key)) made(items[at], key, false); }); },
  };
}

// The keys of rows. Two URLs may look the same without what is secret in them, so a key may have a number.
const keysBy = (key) => (items) => {
  const counts = new Map();
  return items.map((item) => {
    const count = (counts.get(key(item)) ?? 0) + 1;
    counts.set(key(item), count);
    return JSON.stringify([key(item), count]);
  });
};

const lists = new WeakMap(); // what reads the rows of a list anew, by the element that shows them

// Reads the rows of a list because somebody has changed them.
export const reload = (into) => lists.get(into)?.(true);

// Draws a list with filters into an element, or reads its rows anew if the element shows it already. `fields` are
// [name, label, choices or null, first choice]; a field with a first choice has no choice "all". `given` are the filters at
// the start. `above(filters, load)` makes what stands between the filters and the rows, once. `changed()` is told of other
// filters. `isBusy()` is true while the person works on the rows, so that none may come in between.
export function list(into, ended, options) {
  const again = lists.get(into);
  if (again) return again(false);
  const { name, path, fields, columns, row, above, changed, given = {}, isBusy = () => false, key = (item) => item.id } = options;
  const keysOf = keysBy(key);
  const filters = Object.fromEntries(fields.filter(([, , , first]) => first).map(([field, , , first]) => [field, first]));
  Object.assign(filters, given);
  let cursors = [null];
  let shown = { items: [], next: null }; // what the page shows
  let waiting = 0; // how many new rows are not shown
  const rows = rowsOf(name, columns, (item) => row(item, load), keysOf);
  const nothing = element("p", { class: "dim", hidden: true });
  const news = button("", () => { scrollTo({ top: 0 }); load(); }, { class: "main", hidden: true });
  const trouble = element("p", { class: "bad", role: "alert", hidden: true });
  const go = (change) => () => { change(); return load(); };
  const pages = {
    first: button("First", go(() => { cursors = [null]; })),
    back: button("Back", go(() => { cursors.pop(); })),
    next: button("Next", go(() => { cursors.push(shown.next); })),
  };
  for (const [direction, one] of Object.entries(pages)) one.dataset.page = direction;
  const enable = () => {
    pages.first.disabled = pages.back.disabled = cursors.length === 1;
    pages.next.disabled = !shown.next;
    const isEmpty = shown.items.length === 0;
    nothing.hidden = !isEmpty;
    nothing.textContent = shown.next ? "Nothing among these rows; look further." : "Nothing here.";
    rows.place.hidden = isEmpty;
    news.hidden = waiting === 0;
    news.textContent = `${waiting >= MOST - USUAL ? "many" : waiting} new`;
  };
  const isReading = () => shown.items.length > 0 && (scrollY > TOP || isBusy()
    || (rows.place.contains(document.activeElement) && document.activeElement !== rows.place)
    || (!getSelection().isCollapsed && rows.place.contains(getSelection().anchorNode)));
  // If nobody has asked for the rows anew, and somebody reads them, they do not move: new ones are counted, and those that
  // are shown are changed.
  const read = async (isAsked) => {
    const keeps = !isAsked && isReading();
    const asked = cursors[cursors.length - 1];
    const limit = keeps && asked === null ? Math.min(MOST, USUAL + waiting + USUAL / 2) : USUAL;
    let now;
    try {
      now = await page(path, filters, asked, limit);
      trouble.hidden = true;
    } catch (error) {
      if (error.status === 401 && !isAsked) throw error;
      trouble.textContent = error.message;
      trouble.hidden = false;
      return;
    }
    // Another page may have been asked for while this one came.
    if (ended.aborted || asked !== cursors[cursors.length - 1]) return;
    if (keeps) {
      const known = new Set(keysOf(shown.items));
      const first = keysOf(now.items).findIndex((one) => known.has(one));
      waiting = asked === null ? (first < 0 ? now.items.length : first) : 0;
      rows.update(now.items);
    } else {
      const isFirst = shown.items.length === 0;
      waiting = 0;
      shown = now;
      rows.show(shown.items, !isAsked && !isFirst);
    }
    enable();
  };
  function load() { return read(true); }
  const change = (field) => (event) => {
    filters[field] = event.target.value.trim();
    cursors = [null];
    changed?.();
    load();
  };
  const controls = fields.map(([field, label, choices, first]) => element("label", {}, label, choices
    ? element("select", { name: field, onchange: change(field) }, first ? null : element("option", { value: "" }, "all"),
      choices.map((choice) => element("option", { value: choice, selected: filters[field] === choice }, choice)))
    : element("input", { name: field, onchange: change(field), maxlength: 2000, spellcheck: "false", value: filters[field] ?? "" })));
  fill(into, element("h2", {}, name), element("div", { class: "row" }, controls, button("Reload", load), news),
    above?.(filters, load) ?? null, trouble, rows.place, nothing,
    element("div", { class: "row", role: "group", "aria-label": `pages of ${name}` }, pages.first, pages.back, pages.next));
  rows.place.hidden = true;
  lists.set(into, read);
  return load();
}
