// What a panel asks Prometheus.

import { fetchJson } from "./dom.js";
import { resolve } from "./range.js";

export function legend(template, labels) {
  if (!template || template === "__auto") {
    const shown = Object.entries(labels).filter(([name]) => name !== "__name__");
    return shown.map(([name, value]) => `${name}=${value}`).join(" ") || labels.__name__ || "value";
  }
  return template.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? "");
}

export async function series(target, variables, range, signal) {
  const { start, end, step } = resolve(range);
  const query = variables.inQuery(target.expr, range);
  const answer = target.instant
    ? await fetchJson(`/api/prometheus/query?${new URLSearchParams({ query, time: end })}`, signal)
    : await fetchJson(`/api/prometheus/query_range?${new URLSearchParams({ query, start, end, step })}`, signal);
  return answer.data.result.map((item) => ({
    name: legend(target.legendFormat, item.metric),
    labels: item.metric,
    target,
    points: (item.values || [item.value]).map(([time, value]) => [time, Number(value)]),
  }));
}

export async function exemplars(target, variables, range, signal) {
  if (!target.exemplar) return [];
  const { start, end } = resolve(range);
  const query = variables.inQuery(target.expr, range);
  const asked = new URLSearchParams({ query, start, end });
  const answer = await fetchJson(`/api/prometheus/query_exemplars?${asked}`, signal);
  return answer.data.flatMap((item) =>
    item.exemplars.map((found) => ({
      time: found.timestamp, value: Number(found.value), traceId: found.labels.trace_id,
      labels: item.seriesLabels,
    })),
  ).filter((found) => /^[0-9a-f]{32}$/.test(found.traceId || ""));
}

// Regions of an annotation query: consecutive samples are one.
export async function annotations(definition, variables, range, signal) {
  const { step } = resolve(range);
  const target = { expr: definition.expr, legendFormat: definition.titleFormat };
  const found = await series(target, variables, range, signal);
  return found.flatMap(({ name, points }) => {
    const regions = [];
    for (const [time] of points) {
      const last = regions.at(-1);
      if (last && time - last.end <= step * 1.5) last.end = time;
      else regions.push({ start: time, end: time, text: name, color: definition.iconColor, kind: definition.name });
    }
    return regions;
  });
}
