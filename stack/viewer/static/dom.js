// Elements out of names, properties and children. Text is always set as text, never as HTML.

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

// A value to be read: what is no text as JSON, and what would steer the text instead of being seen (control
// characters, changes of direction) by its number.
export function asText(value) {
  const written = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  return written.replace(UNSEEN, (letter) => `\\u${letter.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// Children may be elements, values, and lists of both at any depth; what is undefined, null or false is left out.
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "style") Object.assign(element.style, value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : asText(child));
  }
  return element;
}

const FOCUSABLE = "a[href], button, summary, [tabindex]";
const same = (left, right) => left.textContent === right.textContent && left.getAttribute("href") === right.getAttribute("href");

// New children in the place of the old ones. Who stood on one of them by the keyboard stands on its successor.
export function refill(node, ...children) {
  const here = node.contains(document.activeElement) ? document.activeElement : null;
  node.replaceChildren(...children);
  if (here) [...node.querySelectorAll(FOCUSABLE)].find((next) => same(here, next))?.focus({ preventScroll: true });
}

// A link: only to this server, whatever a label says.
export function link(address, text, properties = {}) {
  const url = new URL(address, location.origin);
  const safe = url.origin === location.origin && /^https?:$/.test(url.protocol);
  return safe ? el("a", { href: url.pathname + url.search, ...properties }, text) : el("span", {}, text);
}

// A whole number that the browser would round stays as it was written.
const exact = (_, value, context) => (Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source ?? value : value);

function parsed(text) {
  try {
    return JSON.parse(text, exact);
  } catch {
    return {};
  }
}

export async function fetchJson(address, signal) {
  let answer;
  try {
    answer = await fetch(address, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the viewer does not answer; is the stack up?");
  }
  const content = parsed(await answer.text());
  if (!answer.ok) throw Object.assign(new Error(content.error || `status ${answer.status}`), { content });
  return content;
}

export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
