// A webhook as text that other programs read: a command of curl, JSON, a test in Rust.
import { decode } from "./shared/body.js";

const OF_CONNECTION = ["host", "content-length", "connection", "transfer-encoding", "expect", "te", "trailer", "upgrade", "keep-alive"];

function kept(hit) { return hit.headers.filter(([name]) => !OF_CONNECTION.includes(name)); }

function base64(data) {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}

// Quotes a text for a shell. Nothing in single quotes means anything to it.
export function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; }

export async function asCurl(hit) {
  const text = decode(hit.data);
  // A shell cannot hold a NUL in an argument, and curl reads a file for a text that begins with @.
  const isText = text !== null && !text.includes("\0") && !text.startsWith("@");
  const parts = [`curl -X ${quoted(hit.method)} ${quoted(location.origin + hit.path)}`, ...kept(hit).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`)];
  if (hit.data.length > 0) parts.push(isText ? `--data-binary ${quoted(text)}` : "--data-binary @-");
  const command = parts.join(" \\\n  ");
  return isText || hit.data.length === 0 ? command : `printf %s ${quoted(base64(hit.data))} | base64 -d | ${command}`;
}

export function asJson(hit) {
  const { data, ...rest } = hit;
  const text = decode(data);
  return JSON.stringify(text === null ? { ...rest, body_base64: base64(data) } : { ...rest, body: text }, null, 2);
}

// Writes a text as a string of Rust.
function rust(text) {
  return `"${text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n").replace(/\r/g, "\\r").replace(/\t/g, "\\t")
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => `\\u{${c.codePointAt(0).toString(16)}}`)}"`;
}

function rustBytes(data) {
  const text = decode(data);
  return text === null ? `&[${[...data].map((byte, at) => (at === 0 ? `${byte}u8` : byte)).join(", ")}]` : `${rust(text)}.as_bytes()`;
}

export function asTest(hit) {
  const others = kept(hit).filter(([name]) => !name.startsWith("webhook-"));
  return `#[test]
fn the_webhook_is_verified() {
    // The signature of the test is made anew, because an old one is refused.
    let secret = postback::Secret::generate();
    let body = ${rustBytes(hit.data)};
    let mut headers = postback::sign(&[secret.clone()], ${rust(hit.webhook_id ?? "msg_1")}, std::time::SystemTime::now(), body).unwrap();
${others.map(([name, value]) => `    headers.append(http::HeaderName::from_static(${rust(name)}), ${rust(value)}.parse().unwrap());`).join("\n")}
    // ${JSON.stringify(`${hit.method} ${hit.path}`)}: give the headers and the body to your receiver here.
    let webhook = postback::verify(&[secret], &headers, body).unwrap();
    assert_eq!(webhook.id(), ${rust(hit.webhook_id ?? "msg_1")});
}
`;
}
