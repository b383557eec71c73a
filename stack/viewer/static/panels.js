// One panel: its head, its body, and how data becomes what it shows.

import { heatmap, pointed, timeseries } from "./charts.js";
import { el, link, refill } from "./dom.js";
import { clock, format, mappedColor } from "./format.js";
import { assign, color, field, ink, thresholdColor } from "./options.js";
import * as prometheus from "./prometheus.js";
import { resolve, unwall } from "./range.js";

const CHARTS = { timeseries, heatmap };

export class Panel {
  constructor(definition, board) {
    this.definition = definition;
    this.board = board;
    this.hidden = new Set();
    this.shownAt = 0;
    const scrolls = ["stat", "state-timeline"].includes(definition.type);
    this.body = el("div", { className: "panel-body", ...(scrolls ? { tabIndex: 0, role: "group", ariaLabel: definition.title } : {}) });
    this.legend = el("div", { className: "legend" });
    this.error = el("div", { className: "panel-error", hidden: true, role: "status" });
    const { x, y, w, h } = definition.gridPos;
    const queries = (definition.targets || []).map((target) => el("pre", {}, target.expr));
    const about = el("div", { className: "about", popover: "auto" }, el("p", {}, definition.description || ""), queries);
    this.node = el("section", {
      className: "panel", data: { type: definition.type }, ariaLabel: definition.title,
      style: { gridColumn: `${x + 1} / span ${w}`, gridRow: `${y + 1} / span ${h}` },
    },
    el("header", {}, el("h2", { title: definition.title }, definition.title),
      el("button", { className: "explain", title: "what good looks like, and the queries", onclick: () => about.togglePopover() }, "i")),
    about, this.body, this.legend, this.error);
    this.node.dataset.state = "waiting";
  }

  // Ask and draw. What was drawn stays until the new is there; an error is shown over it and mends itself.
  async refresh() {
    const { variables, range } = this.board;
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const targets = this.definition.targets || [];
    try {
      const [series, exemplars, regions] = await Promise.all([
        Promise.all(targets.map((target) => prometheus.series(target, variables, range, asking.signal))),
        Promise.all(targets.map((target) => prometheus.exemplars(target, variables, range, asking.signal))),
        this.board.regions(),
      ]);
      this.data = { series: series.flat(), exemplars: thin(exemplars.flat(), range), regions };
      await this.draw();
      this.error.hidden = true;
      this.node.dataset.state = this.data.series.length ? "data" : "empty";
    } catch (failure) {
      if (failure.name === "AbortError") return;
      this.error.textContent = failure.message;
      this.error.hidden = false;
      this.node.dataset.state = "error";
    }
  }

  async draw() {
    const { type } = this.definition;
    const { series } = this.data;
    assign(this.definition, series.map((item) => item.name));
    if (CHARTS[type]) {
      if (type === "timeseries") refill(this.legend, ...series.map((item) => this.legendItem(item)));
      await this.chart();
    } else if (type === "stat") this.body.replaceChildren(...this.stats());
    else if (type === "table") refill(this.body, this.table());
    else if (type === "state-timeline") this.body.replaceChildren(...this.states());
    else if (type === "text") this.body.replaceChildren(el("pre", {}, this.definition.options.content));
    else this.body.replaceChildren(el("p", { className: "none" }, `A panel of type ${type} is beyond this viewer: open it in Grafana.`));
  }

  async chart() {
    const first = !this.plot;
    if (first) this.body.append((this.plot = el("div", { className: "plot" })), (this.empty = el("p", { className: "none over" })));
    this.empty.textContent = this.data.series.length ? "" : this.definition.fieldConfig.defaults.noValue || "no data in this range";
    await CHARTS[this.definition.type](this.definition, this.plot, this.data, this.board.range, this.hidden);
    if (!first) return;
    new ResizeObserver(() => this.plot.offsetParent && Plotly.Plots.resize(this.plot)).observe(this.body);
    this.plot.on("plotly_relayout", (change) => {
      if (change["xaxis.range[0]"] === undefined) return;
      this.board.setRange({
        from: String(unwall(change["xaxis.range[0]"])), to: String(unwall(change["xaxis.range[1]"])),
      });
    });
    this.plot.on("plotly_click", ({ event }) => this.clicked(event));
    this.plot.on("plotly_hover", ({ event }) => this.board.crosshair(this, event));
    this.plot.on("plotly_unhover", () => this.board.crosshair(this, null));
  }

  clicked(event) {
    const found = pointed(this.plot, event);
    if (found.traceId) this.board.open(`/trace/${found.traceId}`);
    else if (found.series) this.menu(found.series, event);
  }

  links(options, macros) {
    return (options.links || []).map((item) =>
      link(this.board.variables.inLink(item.url, this.board.range, macros), item.title));
  }

  menu(series, event) {
    const links = this.links(field(this.definition, series.name), { labels: series.labels });
    if (!links.length) return;
    const box = el("div", { className: "menu", popover: "auto", style: { left: `${event.clientX}px`, top: `${event.clientY}px` } },
      el("b", {}, series.name), links);
    box.addEventListener("toggle", (change) => change.newState === "closed" && box.remove());
    document.body.append(box);
    box.showPopover();
  }

  legendItem(item) {
    const alone = [...this.data.series].every((other) => other === item || this.hidden.has(other.name));
    return el("button", {
      className: this.hidden.has(item.name) ? "series off" : "series", title: "show it alone; again: show all",
      onclick: () => {
        this.hidden = new Set(alone ? [] : this.data.series.filter((other) => other !== item).map((other) => other.name));
        this.draw();
      },
      oncontextmenu: (event) => { event.preventDefault(); this.menu(item, event); },
    }, el("i", { style: { background: field(this.definition, item.name).shade } }), item.name);
  }

  stats() {
    const { series } = this.data;
    const noValue = this.definition.fieldConfig.defaults.noValue || "no data";
    if (!series.length) return [el("p", { className: "none" }, noValue)];
    return series.map((item) => {
      const options = field(this.definition, item.name);
      const value = item.points.map((point) => point[1]).filter(Number.isFinite).at(-1);
      const mapped = mappedColor(value, options.mappings);
      const shade = mapped ? color(mapped) : thresholdColor(options.thresholds?.steps, value);
      return el("div", { className: "stat" }, el("span", {}, item.name),
        el("strong", { style: { color: shade } }, format(value, options.unit, options.mappings)));
    });
  }

  states() {
    const { start, end, step } = resolve(this.board.range);
    const place = (time) => `${((time - start) / (end - start)) * 100}%`;
    if (!this.data.series.length) return [el("p", { className: "none" }, "no data in this range")];
    return this.data.series.map((item) => {
      const { mappings, thresholds } = field(this.definition, item.name);
      const runs = [];
      for (const [time, value] of item.points) {
        const last = runs.at(-1);
        if (last && last.value === value && time - last.end <= step * 1.5) last.end = time;
        else runs.push({ start: time, end: time, value });
      }
      const bars = runs.map((run) => {
        const text = format(run.value, "none", mappings);
        const mapped = mappedColor(run.value, mappings);
        const shade = mapped ? color(mapped) : thresholdColor(thresholds?.steps, run.value);
        return el("span", {
          title: `${text} from ${clock(run.start * 1000)} to ${clock(run.end * 1000)}`,
          style: {
            left: place(run.start), width: `calc(${place(Math.min(run.end + step, end))} - ${place(run.start)})`,
            background: shade, color: ink(shade),
          },
        }, text);
      });
      return el("div", { className: "state" }, el("b", { title: item.name }, item.name), el("div", {}, bars));
    });
  }

  table() {
    const organize = (this.definition.transformations || []).find((step) => step.id === "organize")?.options || {};
    const { excludeByName = {}, indexByName = {}, renameByName = {} } = organize;
    const rows = this.data.series.map((item) => ({ ...item.labels, Value: item.points.at(-1)[1] }));
    const names = [...new Set(rows.flatMap(Object.keys))]
      .filter((name) => name !== "__name__" && !excludeByName[name])
      .sort((left, right) => (indexByName[left] ?? 99) - (indexByName[right] ?? 99));
    if (!rows.length) return el("p", { className: "none" }, this.definition.fieldConfig.defaults.noValue || "none");
    const title = (name) => renameByName[name] || name;
    const sort = this.sort || this.definition.options?.sortBy?.[0];
    const key = sort && names.find((name) => title(name) === sort.displayName);
    if (key) {
      const order = (left, right) => (typeof left === "number" ? left - right : String(left ?? "").localeCompare(String(right ?? "")));
      rows.sort((left, right) => order(left[key], right[key]) * (sort.desc ? -1 : 1));
    }
    const head = names.map((name) => el("th", {
      ariaSort: key === name ? (sort.desc ? "descending" : "ascending") : "none",
    }, el("button", {
      title: "sort by it",
      onclick: () => {
        this.sort = { displayName: title(name), desc: key === name ? !sort.desc : true };
        this.draw();
      },
    }, title(name))));
    const body = rows.map((row) => {
      const fields = Object.fromEntries(names.map((name) => [title(name), row[name]]));
      return el("tr", {}, names.map((name) => {
        const options = field(this.definition, title(name));
        const text = typeof row[name] === "number" ? format(row[name], options.unit, options.mappings) : row[name] ?? "";
        const [first, ...others] = text === "" ? [] : this.links(options, { fields, labels: row });
        if (first) { first.title = first.textContent; first.textContent = text; }
        const more = others.map((other) => { other.className = "more"; return other; });
        return el("td", { className: typeof row[name] === "number" ? "number" : "" }, first || text, more);
      }));
    });
    return el("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: this.definition.title }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
  }
}

// Of hundreds of exemplars the highest of each step: those are the ones to look at.
function thin(found, range) {
  const { step, start, end } = resolve(range);
  const highest = new Map();
  for (const dot of found) {
    if (dot.time < start || dot.time > end) continue;
    const slot = Math.floor(dot.time / (step * 2));
    if (!(highest.get(slot)?.value >= dot.value)) highest.set(slot, dot);
  }
  return [...highest.values()];
}
