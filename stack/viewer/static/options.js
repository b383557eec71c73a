// A panel's field configuration, resolved for one series: defaults, then the overrides that match its name.

const PALETTE = [
  "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff", "#c0d8ff", "#ffb357",
  "#96d98d", "#ff7383", "#ca95e5", "#ffee52", "#3274d9", "#37872d", "#e0b400", "#fa6400", "#8f3bb8",
  "#e02f44", "#56a64b",
];
const NAMED = {
  green: "#56a64b", orange: "#ff9830", red: "#e5484d", blue: "#5794f2", purple: "#b877d9",
  yellow: "#f2cc0c", text: "#9aa4b2", "dark-orange": "#fa6400", "dark-red": "#c4162a",
  "semi-dark-green": "#37872d",
};

export const color = (name) => NAMED[name] || (/^#[0-9a-f]{6}$/i.test(name) ? name : NAMED.text);

export function faded(hex, alpha) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${alpha})`;
}

function byName(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return PALETTE[hash % PALETTE.length];
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
  result.shade = result.color?.mode === "fixed" ? color(result.color.fixedColor) : byName(name);
  return result;
}

export function thresholdColor(steps, value) {
  let found = steps?.[0]?.color || "text";
  for (const step of steps || []) if (step.value !== null && value >= step.value) found = step.color;
  return color(found);
}
