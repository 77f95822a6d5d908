// Asks before a change that reaches far. The answer is true if the person agrees.
import { button, element } from "./shared/dom.js";

export function ask(question, verb) {
  return new Promise((resolve) => {
    const dialog = element("dialog", { "aria-label": verb, class: "stack" });
    dialog.append(element("p", {}, question), element("div", { class: "row" },
      button(verb, () => dialog.close("yes"), { class: "main" }), button("Leave it", () => dialog.close(""))));
    // The key Escape closes the dialog too.
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
