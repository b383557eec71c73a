// Numbers as people read them; the units are Grafana's names.

const SECONDS = [
  [1e-6, 1e-9, "ns"], [1e-3, 1e-6, "µs"], [1, 1e-3, "ms"], [120, 1, "s"],
  [7200, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "d"],
];
const SUFFIX = { reqps: " req/s", ops: " ops/s", cps: "/s", rps: "/s" };

function significant(value, digits = 3) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1000) return Math.round(value).toString();
  return String(Number(value.toPrecision(digits)));
}

function scaled(value, base, names) {
  let index = 0;
  while (Math.abs(value) >= base && index < names.length - 1) {
    value /= base;
    index += 1;
  }
  return significant(value) + names[index];
}

export function format(value, unit, mappings = []) {
  for (const mapping of mappings) {
    const found = mapping.type === "value" && mapping.options[String(value)];
    if (found) return found.text;
  }
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  switch (unit) {
    case "percentunit": return `${significant(value * 100)} %`;
    case "percent": return `${significant(value)} %`;
    case "s": {
      const [, factor, name] = SECONDS.find(([limit]) => Math.abs(value) < limit);
      return value === 0 ? "0 s" : `${significant(value / factor)} ${name}`;
    }
    case "bytes": return scaled(value, 1024, [" B", " KiB", " MiB", " GiB"]);
    case "decbytes": return scaled(value, 1000, [" B", " kB", " MB", " GB"]);
    case "none": return significant(value, 6);
    case "dateTimeAsIso": return dated(value);
    default: return scaled(value, 1000, ["", " K", " M", " G"]) + (SUFFIX[unit] || "");
  }
}

export function mappedColor(value, mappings = []) {
  for (const mapping of mappings) {
    const found = mapping.type === "value" && mapping.options[String(value)];
    if (found?.color) return found.color;
  }
  return undefined;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

// The time of day here, to the millisecond; what is no time as it is.
export function clock(time) {
  const date = new Date(time ?? NaN);
  return Number.isNaN(date.getTime()) ? time : CLOCK.format(date);
}

const DATED = new Intl.DateTimeFormat("en-CA", { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });
export const dated = (time) => DATED.format(time).replace(",", "");

// How long, in the one unit that matters.
export function ago(seconds) {
  const [unit, size] = [["d", 86400], ["h", 3600], ["min", 60]].find(([, least]) => seconds >= least) || ["s", 1];
  return `${Math.floor(Math.max(seconds, 0) / size)} ${unit}`;
}
