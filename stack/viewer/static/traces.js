// Search of the kept traces, and one trace: its spans as a waterfall, its log lines under it.

import { el, fetchJson, link } from "./dom.js";
import { format } from "./format.js";
import * as ranges from "./range.js";

const FIELDS = { route: "Route", status: "Status, 503 or 5xx", code: "Failure code", min_ms: "Longer than, ms" };
const HIDDEN = new Set(["timestamp", "trace_id", "event", "level", "span_id"]);

// Grafana's address of a search, with TraceQL or LogQL in it, as one of ours.
export function fromExplore(query) {
  let pane = {};
  try {
    [pane] = Object.values(JSON.parse(query.get("panes") || "{}"));
  } catch { /* not an address of ours: all traces */ }
  const asked = pane?.queries?.[0] || {};
  const text = asked.query || asked.expr || "";
  const found = {};
  const take = (name, pattern) => {
    const match = pattern.exec(text);
    if (match && !/^(\.[*+]|\$__all|)$/.test(match[1])) found[name] = match[1].replaceAll("\\", "");
  };
  take("route", /http[._]route\s*=~?\s*"([^"]*)"/);
  take("code", /(?:app\.failure\.code|\|\s*code)\s*=~?\s*"([^"]*)"/);
  take("min_ms", /duration\s*>=?\s*([\d.]+)ms/);
  take("status", /status_code\s*(?:>=|=)\s*(\d{3})/);
  if (/status_code\s*>=/.test(text) && found.status) found.status = `${found.status[0]}xx`;
  return new URLSearchParams({ ...found, from: pane?.range?.from || "now-1h", to: pane?.range?.to || "now" });
}

export async function search(bar, main) {
  const query = new URLSearchParams(location.search);
  const range = ranges.read(query, { from: "now-2h", to: "now" });
  const inputs = Object.entries(FIELDS).map(([name, label]) => el("input", { name, placeholder: label, ariaLabel: label, value: query.get(name) || "" }));
  const form = el("form", { action: "/traces" }, inputs, el("button", {}, "search"));
  bar.replaceChildren(form);
  document.title = "Traces";
  const asked = new URLSearchParams({ limit: 200 });
  const { from, to } = ranges.resolve(range);
  asked.set("start", Math.floor(from));
  asked.set("end", Math.ceil(to) + 35);
  for (const name of Object.keys(FIELDS)) if (query.get(name)) asked.set(name, query.get(name));
  const answer = await fetchJson(`/api/traces?${asked}`).catch((error) => ({ error: error.message }));
  if (answer.error) return void main.replaceChildren(el("p", { className: "problem" }, answer.error));
  const longest = Math.max(...answer.traces.map((trace) => trace.duration_ms), 1);
  const rows = answer.traces.map((trace) => el("tr", { className: trace.status >= 500 ? "bad" : "" },
    el("td", {}, link(`/trace/${trace.trace_id}`, new Date(trace.start).toLocaleTimeString())),
    el("td", {}, link(`/trace/${trace.trace_id}`, trace.name)),
    el("td", { className: "number" }, String(trace.status ?? "")), el("td", {}, trace.code ?? ""),
    el("td", { className: "number" }, format(trace.duration_ms / 1000, "s")),
    el("td", { className: "length" }, el("i", { style: { width: `${(trace.duration_ms / longest) * 100}%` } }))));
  main.replaceChildren(el("div", { className: "page" },
    rows.length
      ? el("table", {}, el("thead", {}, el("tr", {}, ["Began", "Request", "Status", "Code", "Took", ""].map((name) => el("th", {}, name)))), el("tbody", {}, rows))
      : el("p", { className: "none" }, "No trace is kept that matches. Kept are those of failures, slow requests and a sample, for two hours."),
  ));
}

// Children under their parents, in order of their start; a span whose parent is not here is a root.
function ordered(spans) {
  const ids = new Set(spans.map((span) => span.span_id));
  const children = new Map();
  for (const span of spans) {
    const parent = ids.has(span.parent_span_id) ? span.parent_span_id : null;
    children.set(parent, [...(children.get(parent) || []), span]);
  }
  const walk = (parent, depth) => (children.get(parent) || []).flatMap((span) => [{ span, depth }, ...walk(span.span_id, depth + 1)]);
  return walk(null, 0);
}

function details(pairs) {
  return el("dl", {}, Object.entries(pairs).map(([name, value]) =>
    [el("dt", {}, name), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))]));
}

export async function trace(id, bar, main) {
  document.title = `Trace ${id}`;
  bar.replaceChildren(el("span", {}, "Trace ", el("code", {}, id)));
  const found = await fetchJson(`/api/traces/${encodeURIComponent(id)}`).catch((error) => ({ error: error.message }));
  if (found.error) return void main.replaceChildren(el("p", { className: "problem" }, found.error));
  const begins = Math.min(...found.spans.map((span) => Date.parse(span.start)));
  const fine = (span) => Date.parse(span.start) + Number(span.start.slice(23, 26)) / 1000;
  const length = Math.max(...found.spans.map((span) => fine(span) - begins + span.duration_ms), 0.001);
  const services = [...new Set(found.spans.map((span) => span.service))];
  const rows = ordered(found.spans).map(({ span, depth }) => el("details", { className: span.status === "ERROR" ? "span bad" : "span" },
    el("summary", {},
      el("span", { className: "name", style: { paddingLeft: `${depth * 14}px` } }, el("b", {}, span.service), " ", span.name),
      el("span", { className: "bar" }, el("i", {
        className: `service${services.indexOf(span.service) % 4}`,
        style: { left: `${((fine(span) - begins) / length) * 100}%`, width: `max(2px, ${(span.duration_ms / length) * 100}%)` },
      })),
      el("span", { className: "took" }, format(span.duration_ms / 1000, "s"))),
    details({ kind: span.kind, status: span.status_message ? `${span.status}: ${span.status_message}` : span.status, ...span.attributes }),
    span.events.map((event) => details({ event: event.name, ...event.attributes })),
    span.links.map((other) => el("p", {}, "linked to ", link(`/trace/${other.trace_id}`, other.trace_id)))));
  const lines = found.logs.map((line) => el("details", { className: `line ${line.level || ""}` },
    el("summary", {}, el("time", {}, String(line.timestamp || "").slice(11, 23)), el("b", {}, line.level || ""), " ", line.event || line.message || "", " ",
      el("span", {}, Object.entries(line).filter(([name]) => !HIDDEN.has(name)).map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" "))),
    details(line)));
  main.replaceChildren(el("div", { className: "page" },
    el("h1", {}, `${found.spans.length} spans, ${format(length / 1000, "s")}, from ${new Date(begins).toLocaleString()}`),
    el("div", { className: "waterfall" }, rows),
    el("h1", {}, lines.length ? `${lines.length} log lines` : "No log line carries this trace"), el("div", { className: "lines" }, lines)));
}
