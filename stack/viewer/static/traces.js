// Search of the kept traces, and one trace: its spans as a waterfall, its log lines under it.

import { asText, el, fetchJson, link } from "./dom.js";
import { clock, dated, format } from "./format.js";
import * as ranges from "./range.js";

const FIELDS = { route: "Route", status: "Status, 503 or 5xx", code: "Failure code", min_ms: "Longer than, ms" };
const IN_THE_HEAD_OF_A_LINE = new Set(["timestamp", "trace_id", "event", "level", "span_id"]);
const MOST = 200;
const DEEPEST_INDENT = 12;
const LONG = 2000; // characters; a longer value scrolls in a box of its own

// Grafana's address of a search, with TraceQL or LogQL in it, as one in this viewer.
export function fromExplore(query) {
  let pane = {};
  try {
    [pane] = Object.values(JSON.parse(query.get("panes") || "{}"));
  } catch { /* not one of our addresses: all traces */ }
  const asked = pane?.queries?.[0] || {};
  const text = asked.query || asked.expr || "";
  const found = {};
  const take = (name, pattern) => {
    const match = pattern.exec(text);
    if (match && !/^(\.[*+]|\$__all|)$/.test(match[1])) found[name] = match[1].replaceAll("\\", "");
  };
  take("route", /http[._]route\s*=~?\s*"([^"]*)"/);
  take("code", /firedrill[._]failure[._]code\s*=~?\s*"([^"]*)"/);
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
  const asked = new URLSearchParams({ limit: MOST });
  const { from, to } = ranges.resolve(range);
  asked.set("start", Math.floor(from));
  asked.set("end", Math.ceil(to) + 35);
  for (const name of Object.keys(FIELDS)) if (query.get(name)) asked.set(name, query.get(name));
  const answer = await fetchJson(`/api/traces?${asked}`).catch((error) => ({ error: error.message }));
  if (answer.error) return void main.replaceChildren(el("p", { className: "problem" }, answer.error));
  const longest = Math.max(...answer.traces.map((trace) => trace.duration_ms), 1);
  const rows = answer.traces.map((trace) => el("tr", { className: trace.status >= 500 ? "bad" : "" },
    el("td", {}, link(`/trace/${trace.trace_id}`, clock(trace.start))),
    el("td", {}, link(`/trace/${trace.trace_id}`, trace.name)),
    el("td", { className: "number" }, trace.status), el("td", {}, trace.code),
    el("td", { className: "number" }, format(trace.duration_ms / 1000, "s")),
    el("td", { className: "length" }, el("i", { style: { width: `${(trace.duration_ms / longest) * 100}%` } }))));
  main.replaceChildren(el("div", { className: "page" },
    el("h1", {}, `Kept traces: ${rows.length}${rows.length === MOST ? " and more" : ""}`),
    rows.length
      ? el("table", { className: "traces" }, el("thead", {}, el("tr", {}, ["Began", "Request", "Status", "Code", "Took", "Beside the longest"].map((name) => el("th", {}, name)))), el("tbody", {}, rows))
      : el("p", { className: "none" }, "No trace is kept that matches. Kept are those of failures, slow requests and a sample, for two hours."),
  ));
}

// Children under their parents, in order of their start. A span whose parent is not here is a root; those of a
// ring of parents come last, as no root leads to them.
function ordered(spans) {
  const ids = new Set(spans.map((span) => span.span_id));
  const children = Map.groupBy(spans, (span) => (ids.has(span.parent_span_id) ? span.parent_span_id : null));
  const found = new Map();
  for (const root of [...(children.get(null) || []), ...spans]) {
    const waiting = [[root, 0]];
    while (waiting.length) {
      const [span, depth] = waiting.pop();
      if (found.has(span)) continue;
      found.set(span, { span, depth, orphan: depth === 0 && Boolean(span.parent_span_id) });
      waiting.push(...(children.get(span.span_id) || []).map((child) => [child, depth + 1]).reverse());
    }
  }
  return [...found.values()];
}

function details(fields) {
  return el("dl", {}, Object.entries(fields).map(([name, value]) => {
    const written = asText(value);
    const shown = written.length > LONG ? el("div", { className: "long", tabIndex: 0, role: "group", ariaLabel: name }, written) : written;
    return [el("dt", {}, name), el("dd", {}, shown)];
  }));
}

// Milliseconds since the epoch, to the microsecond.
const instant = (time) => Date.parse(time) + Number(time.slice(23, 26)) / 1000;
const took = (milliseconds) => format(milliseconds / 1000, "s");

function spanRow({ span, depth, orphan }, begins, length, service) {
  const after = (time) => `${took(instant(time) - begins)} after the start`;
  const status = [span.status, span.status_message].filter((part) => part !== undefined).map(asText).join(": ");
  return el("details", { className: span.status === "ERROR" ? "span bad" : "span" },
    el("summary", {},
      el("span", { className: "name", style: { paddingLeft: `${Math.min(depth, DEEPEST_INDENT) * 14}px` } }, el("b", {}, span.service), " ", span.name),
      el("span", { className: "bar" }, el("i", {
        className: `service${service % 4}`,
        style: { left: `${((instant(span.start) - begins) / length) * 100}%`, width: `max(2px, ${(span.duration_ms / length) * 100}%)` },
      })),
      el("span", { className: "took" }, took(span.duration_ms))),
    el("div", { className: "inside" },
      el("p", {}, `kind ${asText(span.kind)}, status ${status}, ${after(span.start)}, span ${span.span_id}`,
        orphan ? `, its parent ${span.parent_span_id} is not here` : null),
      details(span.attributes),
      span.events.map((event) => [el("h3", {}, `event ${asText(event.name)} `, el("time", {}, after(event.time))), details(event.attributes)]),
      span.links.map((other) => [el("p", {}, "linked to ", other.kept ? link(`/trace/${other.trace_id}`, other.trace_id) : `${other.trace_id}, which is not kept`), details(other.attributes)])));
}

function lineRow(line) {
  const rest = Object.entries(line).filter(([name]) => !IN_THE_HEAD_OF_A_LINE.has(name));
  return el("details", { className: "line", data: { level: asText(line.level ?? "") } },
    el("summary", {}, el("time", {}, clock(line.timestamp)), el("b", {}, line.level), " ", line.event ?? line.message, " ",
      el("span", {}, rest.map(([name, value]) => `${name}=${asText(value)}`).join(" "))),
    el("div", { className: "inside" }, details(line)));
}

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

function shown(found) {
  const begins = found.spans.reduce((least, span) => Math.min(least, instant(span.start)), Infinity);
  const length = found.spans.reduce((most, span) => Math.max(most, instant(span.start) - begins + span.duration_ms), 0.001);
  const services = [...new Set(found.spans.map((span) => span.service))];
  const rows = ordered(found.spans).map((row) => spanRow(row, begins, length, services.indexOf(row.span.service)));
  const lines = found.logs.map(lineRow);
  return el("div", { className: "page" },
    el("h1", {}, `${counted(rows.length, "span")}, ${took(length)}, from ${dated(begins)}`),
    el("div", { className: "waterfall" }, rows),
    el("h2", {}, lines.length ? counted(lines.length, "log line") : "No log line carries this trace"), el("div", { className: "lines" }, lines));
}

// Spans arrive within seconds, and whether they are kept is known within thirty: so long it is asked again.
const LOOK_SECONDS = 2;
const LOOKS = 20;

export async function trace(id, bar, main) {
  const page = { close: () => { page.closed = true; clearTimeout(page.timer); } };
  document.title = `Trace ${id}`;
  bar.replaceChildren(el("span", {}, "Trace ", el("code", {}, id)));

  async function look(left) {
    let found;
    try {
      found = shown(await fetchJson(`/api/traces/${encodeURIComponent(id)}`));
    } catch ({ message, content }) {
      const open = ["waiting", "unknown"].includes(content?.state);
      const end = !open ? "." : left ? "; looking again …" : `; it has not come within ${LOOKS * LOOK_SECONDS} s, so it will not.`;
      found = el("p", { className: "problem", role: "status" }, message, end);
      if (open && left && !page.closed) page.timer = setTimeout(() => look(left - 1), LOOK_SECONDS * 1000);
    }
    if (!page.closed) main.replaceChildren(found);
  }

  await look(LOOKS);
  return page;
}
