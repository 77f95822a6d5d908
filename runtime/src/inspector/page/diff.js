// Compares two webhooks, line by line.
import { decode, jsonText } from "./shared/body.js";
import { element } from "./shared/dom.js";
import { visible } from "./shared/format.js";

const MAX_LINES = 1200;
const MAX_LINE = 2000;

// The lines of a webhook that are compared.
export function linesOf(hit) {
  const text = decode(hit.data);
  const body = text === null ? [...hit.data.subarray(0, 16 * MAX_LINES)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ").match(/.{1,48}/g) ?? []
    : (jsonText(text) ?? text.slice(0, MAX_LINES * 200)).split("\n");
  return [`${hit.method} ${hit.path}`, ...hit.headers.map(([name, value]) => `${name}: ${value}`), "", ...body]
    .slice(0, MAX_LINES).map((line) => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)} …` : line));
}

// The shortest way from one list of lines to another: ["=", line], ["-", line], ["+", line].
export function steps(before, after) {
  const width = after.length + 1;
  const table = new Uint16Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      table[i * width + j] = before[i] === after[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const found = [];
  let i = 0, j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) { found.push(["=", before[i]]); i += 1; j += 1; }
    else if (j >= after.length || (i < before.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) { found.push(["-", before[i]]); i += 1; }
    else { found.push(["+", after[j]]); j += 1; }
  }
  return found;
}

export function diffView(one, other) {
  const found = steps(linesOf(one), linesOf(other));
  const differ = found.filter(([kind]) => kind !== "=").length;
  const names = { "=": ["", "  "], "-": ["gone", "− "], "+": ["new", "+ "] };
  return element("div", { class: "stack" },
    element("p", { class: "dim", role: "status" }, differ === 0 ? "They are equal." : `${differ} lines differ.`),
    element("div", { class: "diff", tabindex: "0", role: "region", "aria-label": "differences" },
      ...found.map(([kind, line]) => element("div", { class: names[kind][0] }, names[kind][1] + visible(line)))));
}
