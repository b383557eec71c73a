// Time series and heatmaps, drawn by Plotly. Names of series may be anything: they are escaped for it.

import { cssColor } from "./dom.js";
import { format } from "./format.js";
import { color, faded, field } from "./options.js";
import { resolve, wall } from "./range.js";

const CONFIG = { displayModeBar: false, doubleClick: false, responsive: false };
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function frame(range) {
  const { start, end } = resolve(range);
  const font = { family: "inherit", size: 11, color: cssColor("muted") };
  return {
    margin: { l: 54, r: 10, t: 6, b: 22 }, font, showlegend: false, uirevision: "kept",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: "zoom",
    hoverlabel: { bgcolor: cssColor("raised"), bordercolor: cssColor("line"), font: { size: 11, color: cssColor("text") }, namelength: 60 },
    xaxis: {
      type: "date", range: [wall(start), wall(end)], gridcolor: cssColor("grid"), linecolor: cssColor("line"),
      fixedrange: false, nticks: 7, tickformatstops: [
        { dtickrange: [null, 60000], value: "%H:%M:%S" }, { dtickrange: [60000, 86400000], value: "%H:%M" },
        { dtickrange: [86400000, null], value: "%d %b" }],
    },
    yaxis: { gridcolor: cssColor("grid"), zeroline: false, fixedrange: true, nticks: 5 },
  };
}

// Ticks of our own: Plotly knows no units.
function ticks(low, high, unit) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.99);
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) {
    values.push(Math.abs(value) < step / 1e6 ? 0 : value);
  }
  return { tickmode: "array", tickvals: values, ticktext: values.map((value) => format(value, unit)) };
}

// A line breaks where samples are missing, as in Grafana.
function withGaps(points, step) {
  const times = [];
  const values = [];
  points.forEach(([time, value], index) => {
    if (index && time - points[index - 1][0] > step * 1.5) {
      times.push(wall(time - step));
      values.push(null);
    }
    times.push(wall(time));
    values.push(Number.isFinite(value) ? value : null);
  });
  return [times, values];
}

function line(panel, item, step, stacked) {
  const options = field(panel, item.name);
  const [x, y] = withGaps(item.points, step);
  const opacity = (options.custom.fillOpacity ?? 0) / 100;
  const dash = options.custom.lineStyle?.fill === "dash" ? "dash" : undefined;
  return {
    type: "scatter", mode: y.length === 1 ? "markers" : "lines", name: escaped(item.name), x, y,
    line: { color: options.shade, width: options.custom.lineWidth ?? 1.5, dash },
    marker: { color: options.shade, size: 5 },
    // Plotly fills across a gap what it does not draw across it: then rather no fill.
    fill: stacked ? "tonexty" : opacity && !y.includes(null) ? "tozeroy" : "none",
    fillcolor: faded(options.shade, stacked ? Math.max(opacity, 0.3) : opacity),
    stackgroup: stacked ? "all" : undefined,
    text: y.map((value) => format(value, options.unit)),
    hovertemplate: "%{text}",
    series: item,
  };
}

function extent(panel, lines, dots, stacked) {
  const { custom = {}, thresholds } = panel.fieldConfig.defaults;
  const sums = new Map();
  for (const { x, y } of lines) {
    x.forEach((time, index) => {
      const value = y[index];
      if (value === null) return;
      sums.set(time, stacked ? (sums.get(time) || 0) + value : Math.max(sums.get(time) ?? -Infinity, value));
    });
  }
  const values = [...sums.values(), ...dots.map((dot) => dot.value)];
  const lowest = Math.min(0, custom.axisSoftMin ?? 0, ...lines.flatMap(({ y }) => y).filter((value) => value !== null));
  let highest = Math.max(custom.axisSoftMax ?? -Infinity, ...values.map((value) => value * 1.06));
  if (!(highest > lowest)) highest = lowest + (thresholds?.steps?.at(-1)?.value || 1);
  return [lowest - (highest - lowest) * 0.015, highest]; // a line at zero stays in sight
}

function marks(regions, high) {
  const shapes = regions.map((region) => ({
    type: "rect", yref: "paper", y0: 0, y1: 1, x0: wall(region.start), x1: wall(Math.max(region.end, region.start + 1)),
    fillcolor: color(region.color), opacity: 0.1, line: { width: 1, color: color(region.color), dash: "dot" }, layer: "below",
  }));
  const flags = {
    type: "scatter", mode: "markers", name: "", x: regions.map((region) => wall(region.start)), y: regions.map(() => high),
    marker: { symbol: "triangle-down", size: 8, color: regions.map((region) => color(region.color)) }, cliponaxis: false,
    text: regions.map((region) => escaped(region.text)), hovertemplate: "⚑ %{text}<extra></extra>",
  };
  return { shapes, flags: regions.length ? [flags] : [] };
}

export function timeseries(panel, node, data, range, hidden) {
  const { step, start, end } = resolve(range);
  const { custom = {}, thresholds, unit } = panel.fieldConfig.defaults;
  const stacked = custom.stacking?.mode === "normal";
  const lines = data.series.filter((item) => !hidden.has(item.name)).map((item) => line(panel, item, step, stacked));
  const [low, high] = extent(panel, lines, data.exemplars, stacked);
  const layout = frame(range);
  Object.assign(layout.yaxis, { range: [low, high] }, ticks(low, high, unit));
  layout.hovermode = "x unified";
  const { shapes, flags } = marks(data.regions, high);
  if (custom.thresholdsStyle && custom.thresholdsStyle.mode !== "off") {
    for (const limit of thresholds?.steps || []) {
      if (limit.value === null || limit.value > high) continue;
      shapes.push({
        type: "line", x0: wall(start), x1: wall(end), y0: limit.value, y1: limit.value,
        line: { color: color(limit.color), width: 1.2, dash: "dash" },
      });
    }
  }
  layout.shapes = shapes;
  const dots = {
    type: "scatter", mode: "markers", name: "trace", x: data.exemplars.map((dot) => wall(dot.time)),
    y: data.exemplars.map((dot) => dot.value), customdata: data.exemplars.map((dot) => dot.traceId),
    marker: { symbol: "diamond", size: 7, color: color("purple"), line: { width: 1, color: cssColor("panel") } },
    text: data.exemplars.map((dot) => format(dot.value, unit)), hovertemplate: "%{text}, click for its trace<extra></extra>",
  };
  const traces = [...lines, ...(data.exemplars.length ? [dots] : []), ...flags];
  return Plotly.react(node, traces, layout, CONFIG);
}

// Prometheus' buckets are cumulative: what lies in one is the difference to the one below.
export function heatmap(panel, node, data, range) {
  const { step, start, end } = resolve(range);
  const buckets = data.series
    .filter((item) => item.labels.le !== undefined)
    .sort((left, right) => Number(left.labels.le.replace("+Inf", "Infinity")) - Number(right.labels.le.replace("+Inf", "Infinity")));
  const times = [];
  for (let time = start; time <= end; time += step) times.push(time);
  const columns = buckets.map((item) => new Map(item.points));
  const z = columns.map((column, index) => times.map((time) => {
    const inside = (column.get(time) ?? 0) - (index ? columns[index - 1].get(time) ?? 0 : 0);
    return inside > 1e-9 ? Math.sqrt(inside) : null;
  }));
  const unit = panel.options?.yAxis?.unit;
  const names = buckets.map((item) => (item.labels.le === "+Inf" ? "more" : format(Number(item.labels.le), unit)));
  const layout = frame(range);
  Object.assign(layout.yaxis, { type: "category", nticks: 8 });
  const dots = data.exemplars.map((dot) => ({
    x: wall(dot.time), id: dot.traceId,
    y: names[buckets.findIndex((item) => dot.value <= Number(item.labels.le.replace("+Inf", "Infinity")))],
  }));
  return Plotly.react(node, [
    {
      type: "heatmap", x: times.map(wall), y: names, z, colorscale: "YlOrRd", reversescale: true, showscale: false,
      xgap: 1, ygap: 1, hoverongaps: false, customdata: z.map((row) => row.map((value) => value && format(value ** 2, "short"))),
      hovertemplate: "≤ %{y}: %{customdata} requests<extra></extra>",
    },
    {
      type: "scatter", mode: "markers", x: dots.map((dot) => dot.x), y: dots.map((dot) => dot.y), customdata: dots.map((dot) => dot.id),
      marker: { symbol: "diamond", size: 7, color: color("purple") }, hovertemplate: "click for its trace<extra></extra>",
    },
  ], layout, CONFIG);
}

// The exemplar under the pointer, or the series nearest to it.
export function pointed(node, event) {
  const box = node.getBoundingClientRect();
  const { xaxis, yaxis, _size: size } = node._fullLayout;
  const at = { x: event.clientX - box.left - size.l, y: event.clientY - box.top - size.t };
  let best = { distance: 14 };
  let nearest = { distance: Infinity };
  for (const trace of node.data) {
    trace.x.forEach?.((time, index) => {
      const value = trace.y[index];
      if (value === null || value === undefined) return;
      const away = Math.abs(xaxis.d2p(time) - at.x);
      const distance = Math.hypot(away, yaxis.d2p(value) - at.y);
      if (trace.customdata && trace.type === "scatter") {
        if (distance < best.distance) best = { distance, traceId: trace.customdata[index] };
      } else if (trace.series && distance < nearest.distance) nearest = { distance, series: trace.series };
    });
  }
  return best.traceId ? best : nearest;
}
