// What keys do, and the list of them.
import { button, byId, element } from "./shared/dom.js";
import { views } from "./views.js";

const KEYS = [["/", "search by id"], ["1 … 9", "go to the view at this place of the menu"], ["j, k", "go to the next row, the row before"],
  ["Enter", "open the row"], ["n, p", "go to the next page, the page before"], ["?", "show these keys"], ["Escape", "close what is open"]];

function help() {
  if (document.querySelector("dialog[open]")) return;
  const dialog = element("dialog", { "aria-label": "keys", class: "stack" }, element("h2", {}, "Keys"),
    element("table", {}, element("tbody", {}, KEYS.map(([key, what]) => element("tr", {},
      element("th", { scope: "row", class: "mono" }, key), element("td", {}, what))))),
    element("div", { class: "row" }, button("Close", () => dialog.close())));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Goes from the row that has the focus to another one. A row has the focus if its link has.
function step(by) {
  const links = [...document.querySelectorAll("tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
  const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  links[at < 0 ? 0 : Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

const turn = (direction) => document.querySelector(`button[data-page=${direction}]:not(:disabled)`)?.click();
const ACTIONS = {
  "?": help, j: () => step(1), k: () => step(-1), n: () => turn("next"), p: () => turn("back"), "/": () => byId("id").focus(),
};

export function listen() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.("input, textarea, select, dialog")) return;
    if (byId("views").hidden) return;
    const view = /^[1-9]$/.test(event.key) ? views[event.key - 1] : null;
    if (view) location.hash = view.name;
    else if (Object.hasOwn(ACTIONS, event.key)) ACTIONS[event.key]();
    else return;
    event.preventDefault();
  });
  byId("keys").addEventListener("click", help);
}
