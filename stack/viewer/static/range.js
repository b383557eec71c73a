// The time range: now-1h to now, or two epoch times in milliseconds, as Grafana writes them in addresses.

const UNITS = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };
export const RANGES = ["5m", "15m", "1h", "3h", "12h", "2d"];

export function instant(text, now = Date.now()) {
  if (/^\d{10,}$/.test(text)) return Number(text);
  const match = /^now(?:-(\d+)([smhd]))?$/.exec(text);
  if (!match) return now;
  return now - (match[1] ? Number(match[1]) * UNITS[match[2]] : 0);
}

export function read(query, fallback) {
  const from = query.get("from") || fallback.from;
  const to = query.get("to") || fallback.to;
  return instant(from) < instant(to) ? { from, to } : fallback;
}

// Aligned to the step, so that points do not wander from refresh to refresh.
export function resolve(range) {
  const from = instant(range.from) / 1000;
  const to = instant(range.to) / 1000;
  const steps = [5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((seconds) => (to - from) / seconds <= 260) || 7200;
  return {
    start: Math.floor(from / step) * step, end: Math.floor(to / step) * step, step, from, to,
  };
}

export function moved(range, factor) {
  const { from, to } = resolve(range);
  const shift = (to - from) * factor;
  return { from: String(Math.round((from + shift) * 1000)), to: String(Math.round((to + shift) * 1000)) };
}

export function zoomed(range, factor) {
  const { from, to } = resolve(range);
  const length = (to - from) * factor;
  if (range.to === "now") return { from: `now-${Math.max(60, Math.round(length))}s`, to: "now" };
  const middle = (from + to) / 2;
  return {
    from: String(Math.round((middle - length / 2) * 1000)), to: String(Math.round((middle + length / 2) * 1000)),
  };
}

// Charts show local time, and Plotly knows only UTC: so times are shifted by the offset.
export const wall = (seconds) => {
  const milliseconds = seconds * 1000;
  return milliseconds - new Date(milliseconds).getTimezoneOffset() * 60e3;
};
export const unwall = (text) => {
  const utc = typeof text === "number" ? text : Date.parse(`${String(text).replace(" ", "T")}Z`);
  return Math.round(utc + new Date(utc).getTimezoneOffset() * 60e3);
};
