// Makes a form of a JSON Schema. What a form cannot show is a field for JSON. The form writes JSON text, and no numbers of
// JavaScript, so that a large number stays as it was typed.
import { button, element, fill } from "./shared/dom.js";
import { visible } from "./shared/format.js";

const MAX_DEPTH = 4;
const MAX_FIELDS = 200;
const MAX_CHOICES = 200;
const MAX_ITEMS = 100;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const INTEGER = /^-?(0|[1-9]\d*)$/;

let ids = 0;
const hint = (schema) => (schema.description ? element("span", { class: "dim hint" }, visible(String(schema.description).slice(0, 500))) : null);

// A label and its field. `note` says what may be left out.
function labelled(name, schema, isRequired, field) {
  const id = `field-${ids += 1}`;
  field.id = id;
  return element("div", { class: "field" }, element("label", { for: id }, visible(name), isRequired ? null : " (may be left out)"), field, hint(schema));
}

// A field of text. `check(text)` returns the JSON text of what was typed, or throws.
function typed(name, schema, isRequired, make, check, show) {
  const field = make();
  return {
    element: labelled(name, schema, isRequired, field),
    read: () => (field.value === "" && !isRequired ? undefined : check(field.value)),
    write: (value) => { field.value = value === undefined || value === null ? "" : show(value); },
  };
}

function number(name, schema, isRequired, isInteger) {
  const pattern = isInteger ? INTEGER : NUMBER;
  const make = () => element("input", { inputmode: isInteger ? "numeric" : "decimal", autocomplete: "off", maxlength: 400 });
  return typed(name, schema, isRequired, make, (value) => {
    if (!pattern.test(value.trim())) throw new Error(`${name}: “${value}” is not ${isInteger ? "a whole number" : "a number"}`);
    return value.trim();
  }, String);
}

function string(name, schema, isRequired) {
  const isLong = schema.maxLength === undefined && !schema.format;
  const make = () => element(isLong ? "textarea" : "input", { rows: isLong ? 1 : null, spellcheck: "false", autocomplete: "off",
    placeholder: schema.format === "date-time" ? "2027-01-31T08:00:00Z" : null });
  return typed(name, schema, isRequired, make, (value) => JSON.stringify(value), String);
}

function json(name, schema, isRequired) {
  const make = () => element("textarea", { rows: 3, class: "mono", spellcheck: "false", placeholder: "JSON" });
  return typed(name, schema, isRequired, make, (value) => {
    try { JSON.parse(value); } catch (error) { throw new Error(`${name}: not JSON: ${error.message}`); }
    return value;
  }, (value) => JSON.stringify(value, null, 2));
}

function choice(name, schema, isRequired, values) {
  const field = element("select", {}, isRequired ? null : element("option", { value: "" }, "(left out)"),
    values.map((value, at) => element("option", { value: String(at) }, visible(typeof value === "string" ? value : JSON.stringify(value)))));
  return {
    element: labelled(name, schema, isRequired, field),
    read: () => (field.value === "" ? undefined : JSON.stringify(values[Number(field.value)])),
    write: (value) => {
      const at = values.findIndex((one) => JSON.stringify(one) === JSON.stringify(value));
      field.value = at < 0 ? (isRequired ? "0" : "") : String(at);
    },
  };
}

function array(name, schema, isRequired, context) {
  const items = element("div", { class: "stack" });
  let all = [];
  const add = (value) => {
    if (all.length >= MAX_ITEMS) return;
    const one = field(`${name} ${all.length + 1}`, schema.items ?? {}, true, context);
    if (value !== undefined) one.write(value);
    all.push(one);
    items.append(one.element);
  };
  const drop = () => all.pop()?.element.remove();
  return {
    element: element("fieldset", { class: "stack" }, element("legend", {}, visible(name), isRequired ? null : " (may be left out)"), hint(schema), items,
      element("div", { class: "row" }, button("Add", () => { add(); items.lastElementChild?.querySelector("input, textarea, select")?.focus(); }, { "aria-label": `add to ${visible(name)}` }),
        button("Remove the last", drop, { "aria-label": `remove the last of ${visible(name)}` }))),
    read: () => (all.length === 0 && !isRequired ? undefined : `[${all.map((one) => one.read() ?? "null").join(",")}]`),
    write: (value) => { fill(items); all = []; for (const one of Array.isArray(value) ? value : []) add(one); },
  };
}

function object(name, schema, isRequired, context) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties).map(([member, of]) => [member, field(member, of, required.has(member), context)]);
  const inside = element("div", { class: "stack" }, fields.map(([, one]) => one.element));
  const has = element("input", { type: "checkbox", checked: isRequired });
  const turn = () => { inside.hidden = !has.checked; };
  has.addEventListener("change", turn);
  turn();
  const title = name === null ? null : element("legend", {}, isRequired ? visible(name) : element("label", {}, has, " ", visible(name)));
  return {
    element: name === null ? inside : element("fieldset", { class: "stack" }, title, hint(schema), inside),
    read: () => {
      if (!has.checked) return undefined;
      const members = fields.map(([member, one]) => [member, one.read()]).filter(([, value]) => value !== undefined);
      return `{${members.map(([member, value]) => `${JSON.stringify(member)}:${value}`).join(",")}}`;
    },
    write: (value) => {
      const given = value !== null && typeof value === "object" ? value : undefined;
      has.checked = isRequired || given !== undefined;
      turn();
      for (const [member, one] of fields) one.write(given && Object.hasOwn(given, member) ? given[member] : undefined);
    },
  };
}

// Follows references, and takes off what only says that a value may be null.
function resolved(schema, context) {
  let one = schema, isNullable = false;
  for (let turn = 0; turn < 20; turn += 1) {
    if (one === null || typeof one !== "object") return { schema: {}, isNullable };
    if (typeof one.$ref === "string") {
      const name = one.$ref.split("/").pop();
      one = { ...(Object.hasOwn(context.schemas, name) ? context.schemas[name] : {}), ...(one.description ? { description: one.description } : {}) };
    } else if (Array.isArray(one.anyOf ?? one.oneOf)) {
      const some = (one.anyOf ?? one.oneOf).filter((each) => each?.type !== "null");
      if (some.length !== 1) return { schema: one, isNullable: isNullable || some.length < (one.anyOf ?? one.oneOf).length };
      isNullable = true;
      one = { ...some[0], description: one.description ?? some[0].description };
    } else if (Array.isArray(one.allOf) && one.allOf.length === 1) {
      one = { ...one.allOf[0], description: one.description };
    } else if (Array.isArray(one.type)) {
      const types = one.type.filter((type) => type !== "null");
      isNullable ||= types.length < one.type.length;
      one = { ...one, type: types.length === 1 ? types[0] : undefined };
    } else {
      return { schema: one, isNullable };
    }
  }
  return { schema: {}, isNullable };
}

// The values of an enumeration. Schemas write one as `enum`, or as constants with a description for each.
function valuesOf(schema) {
  if (Array.isArray(schema.enum)) return schema.enum;
  if (schema.const !== undefined) return [schema.const];
  const some = schema.oneOf ?? schema.anyOf;
  if (!Array.isArray(some)) return null;
  const values = some.flatMap((one) => (one?.const !== undefined ? [one.const] : Array.isArray(one?.enum) ? one.enum : [null]));
  return values.every((value) => value !== null) ? values : null;
}

function field(name, given, mustBe, above) {
  const context = { ...above, depth: above.depth + 1 };
  const { schema, isNullable } = resolved(given, context);
  // Who leaves out what may be null, leaves it out, or writes null in the editor.
  const isRequired = mustBe && !isNullable;
  context.count.fields += 1;
  const made = () => {
    if (context.depth > MAX_DEPTH || context.count.fields > MAX_FIELDS) return json(name, schema, isRequired);
    const values = valuesOf(schema);
    if (values && values.length > 0 && values.length <= MAX_CHOICES) return choice(name, schema, isRequired, values);
    switch (schema.type) {
      case "boolean": return choice(name, schema, isRequired, [false, true]);
      case "integer": return number(name, schema, isRequired, true);
      case "number": return number(name, schema, isRequired, false);
      case "string": return string(name, schema, isRequired);
      case "array": return schema.items && !schema.prefixItems ? array(name, schema, isRequired, context) : json(name, schema, isRequired);
      case "object": return schema.properties ? object(name, schema, isRequired, context) : json(name, schema, isRequired);
      default: return json(name, schema, isRequired);
    }
  };
  const one = made();
  if (given?.default !== undefined || schema.default !== undefined) one.write(given?.default ?? schema.default);
  const { read } = one;
  return { ...one, read: () => read() ?? (mustBe && isNullable ? "null" : undefined) };
}

// Makes the form of a payload. Returns null if its schema says nothing about members. `read()` returns JSON text.
export function formOf(schema, schemas) {
  const context = { schemas, depth: 0, count: { fields: 0 } };
  const { schema: top } = resolved(schema, context);
  if (top.type === "object" && top.properties) return object(null, top, true, context);
  return ["string", "integer", "number", "boolean", "array"].includes(top.type) || valuesOf(top) ? field("payload", schema, true, context) : null;
}
