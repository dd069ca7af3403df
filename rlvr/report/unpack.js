// What is embedded: base64 of gzip, in script elements that the browser never runs.

async function unpack(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`this file lacks its part ${id}: make the report again`);
  const text = atob(element.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const unpackJson = async (id) => JSON.parse(await unpack(id));

// Keeps the latest results of an asynchronous function of one argument.
function remembering(limit, load) {
  const known = new Map();
  return (key) => {
    let value = known.get(key);
    if (value === undefined) value = load(key);
    known.delete(key);
    known.set(key, value);
    if (known.size > limit) known.delete(known.keys().next().value);
    return value;
  };
}

// Builds an element. Strings become text nodes: nothing here ever parses HTML.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

function shortNumber(value) {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (size >= 1e4) return Math.round(value).toLocaleString("en");
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value * 10) / 10);
  return size === 0 ? "0" : size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}
