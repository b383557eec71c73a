// A panel's field configuration, resolved for one series: defaults, then the overrides that match its name.

// Green, orange, red and purple have a meaning that dashboards give (dashboards/meaning.py); what has none gets
// one of the others.
const PALETTE = {
  dark: [
    "#5794f2", "#2fb8c6", "#f2cc0c", "#ff85c0", "#8ab8ff", "#c8a27a", "#9fd3c7", "#a3a7ff", "#d9a5b3", "#6ea3b8",
    "#e0d68a", "#7c8fe0", "#c0d8ff", "#4f9d93", "#b9a6a0", "#9aa4b2",
  ],
  light: [
    "#1f60c4", "#00818f", "#8a6d00", "#b0307c", "#4b7bd0", "#8a5a2b", "#3d8577", "#5a5fd0", "#a05468", "#356f86",
    "#7a7430", "#41509c", "#274a8f", "#1f6b62", "#75605a", "#5b6472",
  ],
};
// Grafana's names; on each ground they can be read as text.
const NAMED = {
  dark: {
    green: "#73bf69", orange: "#ff9830", red: "#ff7078", blue: "#5794f2", purple: "#ca95e5", yellow: "#f2cc0c", text: "#9aa4b2",
  },
  light: {
    green: "#2b7a2b", orange: "#b35900", red: "#c01c28", blue: "#1a5fb4", purple: "#813d9c", yellow: "#7a6000", text: "#5b6472",
  },
};
const SHADES = { "super-light-": 0.6, "light-": 0.3, "semi-dark-": -0.2, "dark-": -0.35 };

const theme = () => document.documentElement.dataset.theme;
const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const hexOf = (parts) => `#${parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

// Lighter towards white, darker towards black.
function shaded(hex, share) {
  const target = share > 0 ? 255 : 0;
  return hexOf(channels(hex).map((part) => part + (target - part) * Math.abs(share)));
}

export function color(name) {
  const names = NAMED[theme()];
  if (names[name]) return names[name];
  if (/^#[0-9a-f]{6}$/i.test(name)) return name;
  const prefix = Object.keys(SHADES).find((start) => name?.startsWith(start));
  const base = prefix && names[name.slice(prefix.length)];
  return base ? shaded(base, SHADES[prefix]) : names.text;
}

// Black or white, whichever is read better on a colour (WCAG's relative luminance).
export function ink(hex) {
  const [red, green, blue] = channels(hex).map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}

export function faded(hex, alpha) {
  const [red, green, blue] = channels(hex);
  return `rgba(${red},${green},${blue},${alpha})`;
}

function place(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return hash % PALETTE.dark.length;
}

const places = new WeakMap();

// Give each series of a panel a colour by its name, the same on every panel where no other has it.
export function assign(panel, names) {
  const taken = new Map();
  for (const name of [...new Set(names)].sort()) {
    let at = place(name);
    for (let tried = 0; taken.has(at) && tried < PALETTE.dark.length; tried += 1) at = (at + 1) % PALETTE.dark.length;
    taken.set(at, name);
    if (!places.has(panel)) places.set(panel, new Map());
    places.get(panel).set(name, at);
  }
}

function pattern(text) {
  const match = /^\/(.*)\/([a-z]*)$/s.exec(text);
  return match ? new RegExp(match[1], match[2]) : new RegExp(`^(?:${text})$`);
}

const MATCHERS = {
  byName: (options, name) => options === name,
  byRegexp: (options, name) => pattern(options).test(name),
};

export function field(panel, name) {
  const config = panel.fieldConfig || {};
  const result = { custom: {}, links: [], mappings: [], ...structuredClone(config.defaults || {}) };
  for (const override of config.overrides || []) {
    if (!MATCHERS[override.matcher.id]?.(override.matcher.options, name)) continue;
    for (const { id, value } of override.properties) {
      if (id.startsWith("custom.")) result.custom[id.slice(7)] = value;
      else result[id] = value;
    }
  }
  result.shade = result.color?.mode === "fixed" ? color(result.color.fixedColor) : PALETTE[theme()][places.get(panel)?.get(name) ?? place(name)];
  return result;
}

export function thresholdColor(steps, value) {
  let found = steps?.[0]?.color || "text";
  for (const step of steps || []) if (step.value !== null && value >= step.value) found = step.color;
  return color(found);
}
