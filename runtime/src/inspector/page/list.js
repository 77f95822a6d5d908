// The list of webhooks. Attempts with one webhook-id are one entry, with the newest attempt on top.
import { element, tag } from "./shared/dom.js";
import { bytes, clock, visible } from "./shared/format.js";

const MAX_SHOWN = 300;

// The words of all forms of a report.
const GOOD = ["completed", "succeeded", "COMPLETED", "OK"];
const BAD = ["failed", "cancelled", "canceled", "FAILED", "TIMED_OUT", "CANCELLED", "ERROR"];

export function statusKind(status) {
  return GOOD.includes(status) ? "good" : BAD.includes(status) ? "bad" : "";
}

export function answerText(answer) {
  if (!answer) return "…";
  return answer.status === null ? "no answer" : String(answer.status);
}

export function answerKind(answer) {
  return answer && answer.status !== null && answer.status < 300 ? "good" : answer ? "bad" : "";
}

export class List {
  #place; #choose; #hits = new Map(); #groups = new Map(); #nodes = new Map(); #chosen = null; #waiting = false;

  constructor(place, choose) {
    this.#place = place;
    this.#choose = choose;
  }

  get size() { return this.#hits.size; }

  hit(number) { return this.#hits.get(number); }

  // The attempts with the same webhook-id, the first one first.
  attempts(number) {
    const hit = this.#hits.get(number);
    const numbers = hit ? this.#groups.get(this.#key(hit)) ?? [] : [];
    return numbers.map((other) => this.#hits.get(other));
  }

  newest(most) {
    return [...this.#hits.values()].sort((a, b) => b.number - a.number).slice(0, most);
  }

  #key(hit) { return hit.webhook_id === null ? `#${hit.number}` : JSON.stringify([hit.inbox, hit.webhook_id]); }

  put(hit) {
    const key = this.#key(hit);
    const numbers = this.#groups.get(key) ?? [];
    if (!this.#hits.has(hit.number)) {
      numbers.push(hit.number);
      numbers.sort((a, b) => a - b);
      this.#groups.set(key, numbers);
    }
    this.#hits.set(hit.number, hit);
    this.#later();
  }

  // Forgets webhooks that the server no longer keeps.
  forget(oldest) {
    if (oldest === undefined) return;
    for (const [number, hit] of this.#hits) {
      if (number >= oldest) continue;
      this.#hits.delete(number);
      const key = this.#key(hit);
      const left = (this.#groups.get(key) ?? []).filter((other) => other !== number);
      if (left.length > 0) this.#groups.set(key, left); else this.#groups.delete(key);
      this.#later();
    }
  }

  clear() {
    this.#hits.clear();
    this.#groups.clear();
    this.#nodes.clear();
    this.#place.replaceChildren();
    this.#later();
  }

  choose(number) {
    this.#chosen = number;
    this.#draw();
  }

  // Moves the choice up or down by what is shown.
  move(by) {
    const buttons = [...this.#place.querySelectorAll(".hit")];
    const at = buttons.findIndex((one) => one.dataset.number === String(this.#chosen));
    const next = buttons[Math.min(Math.max(at < 0 ? 0 : at + by, 0), buttons.length - 1)];
    if (!next) return;
    this.#choose(Number(next.dataset.number));
    const drawn = this.#place.querySelector(`.hit[data-number="${next.dataset.number}"]`);
    drawn?.focus();
    drawn?.scrollIntoView({ block: "nearest" });
  }

  // Draws at most once per frame, however many webhooks come.
  #later() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => { this.#waiting = false; this.#draw(); });
  }

  #draw() {
    const groups = [...this.#groups].sort((a, b) => b[1].at(-1) - a[1].at(-1));
    const shown = groups.slice(0, MAX_SHOWN);
    const keys = new Set(shown.map(([key]) => key));
    for (const [key, { node }] of this.#nodes) {
      if (!keys.has(key)) { node.remove(); this.#nodes.delete(key); }
    }
    shown.forEach(([key, numbers], at) => {
      const node = this.#group(key, numbers);
      // What is in its place already stays there, so that the focus stays too.
      if (this.#place.children[at] !== node) this.#place.insertBefore(node, this.#place.children[at] ?? null);
    });
    const older = document.getElementById("older");
    older.hidden = groups.length <= MAX_SHOWN;
    older.textContent = `… ${groups.length - MAX_SHOWN} older ones; use the filter to find them`;
  }

  #group(key, numbers) {
    const isOpen = numbers.includes(this.#chosen);
    const stamp = JSON.stringify([numbers, isOpen && this.#chosen, numbers.map((number) => this.#hits.get(number).answer)]);
    const known = this.#nodes.get(key);
    if (known?.stamp === stamp) return known.node;
    const node = known?.node ?? element("li", { class: "fresh" });
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.number : null;
    const last = this.#hits.get(numbers.at(-1));
    const rest = numbers.slice(0, -1).reverse().map((number) => this.#row(this.#hits.get(number), 1));
    node.replaceChildren(this.#row(last, numbers.length), ...(isOpen && rest.length > 0 ? [element("div", { class: "attempts" }, ...rest)] : []));
    if (focused) node.querySelector(`[data-number="${focused}"]`)?.focus();
    this.#nodes.set(key, { node, stamp });
    return node;
  }

  #row(hit, attempts) {
    const signature = { valid: tag("✓ signed", "good"), invalid: tag("✗ signature", "bad") }[hit.signature];
    return element("button", {
      type: "button", class: "hit", "data-number": hit.number, "aria-current": hit.number === this.#chosen ? "true" : "false",
      onclick: () => this.#choose(hit.number),
    },
    tag(answerText(hit.answer), answerKind(hit.answer)),
    element("span", { class: "path mono" }, visible(`${hit.method === "POST" ? "" : `${hit.method} `}${hit.path}`)),
    hit.status ? tag(visible(hit.status), statusKind(hit.status)) : element("span"),
    element("span", { class: "sub" },
      element("span", {}, clock(hit.received_ms)),
      element("span", {}, bytes(hit.bytes)),
      attempts > 1 ? element("strong", {}, `${attempts} attempts`) : hit.attempt > 1 && element("span", {}, `attempt ${hit.attempt}`),
      signature,
      hit.id && element("span", { class: "id mono" }, visible(hit.id))));
  }
}
