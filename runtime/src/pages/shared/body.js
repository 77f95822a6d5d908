// Shows bodies: JSON with colours, other text, and bytes. What is shown is bounded, whatever the body is.
import { element } from "./dom.js";
import { bytes, visible } from "./format.js";

const MAX_LINES = 2000;
const MAX_TOKEN = 4000;
const MAX_INDENT = 40;
const MAX_JSON = 1 << 20;
const MAX_TEXT = 1 << 18;
const MAX_HEX = 4096;

// The lines of a JSON text: { text, parts: [[class, text], …] }. Tokens stay as they are, so that no number is rounded.
// Returns null if the text is not JSON, or too large.
export function jsonLines(text) {
  if (text.length > MAX_JSON) return null;
  try { JSON.parse(text); } catch { return null; }
  const tokens = /"(?:[^"\\]|\\[^])*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  const lines = [];
  let parts = [], depth = 0, more = 0, previous = "";
  const write = (kind, token) => parts.push([kind, token.length > MAX_TOKEN ? `${token.slice(0, MAX_TOKEN)} … ${token.length - MAX_TOKEN} more characters` : token]);
  const end = () => {
    if (lines.length < MAX_LINES) lines.push(parts); else more += 1;
    parts = [["", "  ".repeat(Math.min(Math.max(depth, 0), MAX_INDENT))]];
  };
  const all = text.match(tokens) ?? [];
  for (let at = 0; at < all.length; at += 1) {
    const token = all[at];
    if (token === "{" || token === "[") {
      write("", token);
      depth += 1;
      if (all[at + 1] !== "}" && all[at + 1] !== "]") end();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      if (previous !== "{" && previous !== "[") end();
      write("", token);
    } else if (token === ",") {
      write("", ",");
      end();
    } else if (token === ":") {
      write("", ": ");
    } else if (token[0] === '"') {
      write(all[at + 1] === ":" ? "k" : "s", token);
    } else {
      write("n", token);
    }
    previous = token;
  }
  end();
  return { lines, more };
}

export function jsonText(text) {
  const json = jsonLines(text);
  return json && json.lines.map((parts) => parts.map(([, part]) => part).join("")).join("\n");
}

function pre(label, ...children) {
  return element("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, ...children);
}

export function hexView(data, name = "body") {
  const lines = [];
  for (let at = 0; at < Math.min(data.length, MAX_HEX); at += 16) {
    const row = [...data.subarray(at, Math.min(at + 16, MAX_HEX))];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex}  ${row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("")}`);
  }
  if (data.length > MAX_HEX) lines.push(`… ${bytes(data.length - MAX_HEX)} more`);
  return pre(`${name} in hexadecimal`, lines.join("\n"));
}

export function decode(data) {
  try { return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data); } catch { return null; }
}

export function textView(text, name = "body") {
  const rest = text.length > MAX_TEXT ? `\n… ${text.length - MAX_TEXT} more characters` : "";
  return pre(name, visible(text.slice(0, MAX_TEXT)) + rest);
}

// The best view of a body: JSON, text, or bytes. `name` says what it is to people who do not see it.
export function bodyView(data, name = "body") {
  const text = decode(data);
  if (text === null) return hexView(data, name);
  const json = jsonLines(text);
  if (!json) return textView(text, name);
  const nodes = json.lines.flatMap((parts) => [...parts.map(([kind, part]) => (kind ? element("span", { class: kind }, visible(part)) : visible(part))), "\n"]);
  if (json.more > 0) nodes.push(`… ${json.more} more lines`);
  return pre(`${name} as JSON`, ...nodes);
}
