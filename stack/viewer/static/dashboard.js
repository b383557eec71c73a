// A dashboard: its variables, its range, its panels; each is asked for and drawn when it comes into view.

import { el, fetchJson, link } from "./dom.js";
import { clock } from "./format.js";
import { Panel } from "./panels.js";
import * as prometheus from "./prometheus.js";
import * as ranges from "./range.js";
import { Variables } from "./variables.js";

const REFRESH_SECONDS = [0, 5, 10, 30, 60];
const inView = new Map();
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) inView.get(entry.target)?.(entry.isIntersecting);
}, { rootMargin: "120px" });

export class Board {
  constructor(definition, navigate) {
    const query = new URLSearchParams(location.search);
    this.definition = definition;
    this.open = navigate;
    this.variables = new Variables(definition.templating.list, query);
    this.range = ranges.read(query, definition.time);
    this.every = query.has("refresh") ? Number.parseInt(query.get("refresh"), 10) || 0 : Number.parseInt(definition.refresh, 10);
    this.visible = new Set();
    this.age = 1;
    this.panels = definition.panels.filter((panel) => panel.type !== "row").map((panel) => new Panel(panel, this));
  }

  show(bar, main) {
    this.selects = this.variables.definitions.map((definition) =>
      el("select", { title: definition.label, ariaLabel: definition.label, onchange: (event) => this.choose(definition.name, event.target.value) }));
    this.rangeSelect = el("select", { ariaLabel: "Time range", onchange: (event) => this.setRange({ from: `now-${event.target.value}`, to: "now" }) });
    this.refreshSelect = el("select", { ariaLabel: "Refresh", onchange: (event) => this.setRefresh(Number(event.target.value)) },
      REFRESH_SECONDS.map((seconds) => el("option", { value: seconds, selected: seconds === this.every }, seconds ? `every ${seconds} s` : "no refresh")));
    this.extra = this.definition.links.filter((item) => item.type === "link" && item.title !== "Alerts");
    this.links = el("span", { className: "links" });
    bar.replaceChildren(...this.selects, el("span", { className: "space" }), this.links, this.rangeSelect, this.refreshSelect);
    // In the order in which they are read, which is all that a phone keeps of the grid.
    const panels = this.panels.values();
    const nodes = this.definition.panels.map((item) => (item.type === "row"
      ? el("h1", { className: "row", style: { gridRow: `${item.gridPos.y + 1}` } }, item.title)
      : panels.next().value.node));
    main.replaceChildren(el("div", { className: "grid" }, nodes));
    document.title = this.definition.title;
    for (const panel of this.panels) {
      inView.set(panel.node, (now) => {
        if (now) this.visible.add(panel);
        else this.visible.delete(panel);
        if (now && panel.shownAt !== this.age) this.refreshPanel(panel);
      });
      observer.observe(panel.node);
    }
    this.showRange();
    this.loadVariables();
    this.schedule();
  }

  close() {
    clearTimeout(this.timer);
    for (const panel of this.panels) {
      observer.unobserve(panel.node);
      inView.delete(panel.node);
      panel.asking?.abort();
      if (panel.plot) Plotly.purge(panel.plot);
    }
  }

  refreshPanel(panel) {
    panel.shownAt = this.age;
    return panel.refresh();
  }

  // All that is in view; the rest when it comes into view.
  async refresh() {
    this.age += 1;
    this.marked = undefined;
    await Promise.all([...this.visible].map((panel) => this.refreshPanel(panel)));
  }

  schedule() {
    clearTimeout(this.timer);
    if (!this.every) return;
    this.timer = setTimeout(async () => {
      if (!document.hidden && this.range.to === "now") await this.refresh();
      this.schedule();
    }, this.every * 1000);
  }

  // Annotations, once per refresh for all panels; one that fails is left out.
  regions() {
    this.marked ??= Promise.allSettled(
      this.definition.annotations.list.filter((item) => item.enable && item.expr)
        .map((item) => prometheus.annotations(item, this.variables, this.range)),
    ).then((settled) => settled.flatMap((result) => result.value || []));
    return this.marked;
  }

  async loadVariables() {
    for (const [index, definition] of this.variables.definitions.entries()) {
      const select = this.selects[index];
      const chosen = this.variables.values[definition.name];
      const values = await this.variables.choices(definition, this.range).catch(() => []);
      if (!this.variables.isAll(definition.name) && !values.includes(chosen)) values.push(chosen);
      select.replaceChildren(
        el("option", { value: "$__all" }, `${definition.label}: all`),
        ...values.map((value) => el("option", { value, selected: value === chosen }, value)),
      );
    }
  }

  choose(name, value) {
    this.variables.values[name] = value;
    this.changed();
    this.loadVariables();
  }

  setRefresh(seconds) {
    this.every = seconds;
    this.changed();
    this.schedule();
  }

  setRange(range) {
    if (ranges.instant(range.to) - ranges.instant(range.from) < 30e3) return;
    this.range = range;
    this.showRange();
    this.changed();
  }

  showRange() {
    const { from, to } = this.range;
    const relative = to === "now" ? from.replace("now-", "") : null;
    const absolute = () => [from, to].map((text) => clock(ranges.instant(text)).slice(0, 8)).join(" – ");
    const known = [...ranges.RANGES];
    if (!relative || !known.includes(relative)) known.unshift(relative ?? "fixed");
    this.rangeSelect.replaceChildren(...known.map((text) =>
      el("option", { value: text, selected: text === (relative ?? "fixed") }, text === "fixed" ? absolute() : `last ${text}`)));
    this.showLinks();
  }

  showLinks() {
    this.links.replaceChildren(...this.extra.map((item) => link(this.variables.inLink(item.url, this.range), item.title, { title: item.tooltip })));
  }

  changed() {
    const query = new URLSearchParams({ ...this.range, refresh: `${this.every}s`, ...this.variables.query() });
    history.replaceState(null, "", `${location.pathname}?${query}`);
    this.showLinks();
    this.refresh();
  }

  // One pointer, the same moment on every chart.
  crosshair(source, event) {
    const size = source.plot._fullLayout?._size;
    const share = event && size ? (event.clientX - source.plot.getBoundingClientRect().left - size.l) / size.w : null;
    for (const panel of this.visible) {
      if (!panel.plot || panel === source) continue;
      panel.cross ??= panel.body.appendChild(el("div", { className: "cross" }));
      const own = panel.plot._fullLayout?._size;
      panel.cross.hidden = share === null || share < 0 || share > 1 || !own;
      if (!panel.cross.hidden) panel.cross.style.left = `${own.l + share * own.w}px`;
    }
  }

  keys = {
    "[": () => this.setRange(ranges.moved(this.range, -0.5)),
    "]": () => this.setRange(ranges.moved(this.range, 0.5)),
    "-": () => this.setRange(ranges.zoomed(this.range, 2)),
    "+": () => this.setRange(ranges.zoomed(this.range, 0.5)),
    l: () => this.setRange(this.definition.time),
    r: () => this.refresh(),
  };
}

export async function dashboard(uid, bar, main, navigate) {
  const board = new Board(await fetchJson(`/api/dashboards/${encodeURIComponent(uid)}`), navigate);
  board.show(bar, main);
  return board;
}
