// Builds the elements of a page. Text always becomes a text node: nothing here reads HTML.

// element("a", { class: "x", href: "…", onclick: f }, "text", child, …)
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) {
      // A text here would be code. Only functions are listeners.
      if (typeof value === "function") made.addEventListener(name.slice(2), value);
    } else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") {
      made[name] = value;
    } else if (name === "href" && !/^(https?:|\/|#|\.)/.test(value)) {
      continue; // such as javascript:
    } else {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

// Replaces what is in an element.
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return parent;
}

export function button(text, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, text);
}

export function tag(text, kind = "") {
  return element("span", { class: `tag ${kind}` }, text);
}

let toastEnds;
// Shows a short message for two seconds, and reads it to people who do not see it.
export function toast(text) {
  let place = byId("toast");
  if (!place) {
    place = element("div", { id: "toast", class: "toast", role: "status" });
    document.body.append(place);
  }
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => { place.hidden = true; }, 2500);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("copied");
  } catch {
    // The browser gives no access to the clipboard. A person can copy from a dialog.
    const area = element("textarea", { rows: 12, readonly: true, "aria-label": "text to copy", value: text });
    const dialog = element("dialog", { "aria-label": "copy" }, element("form", { method: "dialog", class: "stack" }, area,
      element("div", { class: "row" }, element("button", {}, "Close"))));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    area.select();
  }
}

// Calls the page's own server with JSON. A change carries the header that forms of other pages cannot send.
export async function call(method, path, body) {
  const headers = { "x-postback-page": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* not JSON */ }
  if (!answer.ok) throw Object.assign(new Error(value?.detail ?? `${answer.status} ${answer.statusText}`), { status: answer.status });
  return value;
}
