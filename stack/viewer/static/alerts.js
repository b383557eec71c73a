// What fires, is pending, is held back; beside it the runbook.

import { el, fetchJson, link } from "./dom.js";
import { ago } from "./format.js";

const STATES = ["firing", "pending", "inhibited", "silenced"];
const REFRESH_SECONDS = 5;
const LABELS = ["severity", "scope", "http_route", "instance", "tier"];

export async function alerts(name, bar, main, navigate) {
  const list = el("div", { className: "alerts" });
  const book = el("article", { className: "runbook" }, el("p", { className: "none" }, "Choose an alert: its runbook opens here."));
  const page = { keys: {}, close: () => clearTimeout(page.timer) };
  bar.replaceChildren(el("span", {}, "What the pager is told, and what is held back"));
  main.replaceChildren(el("div", { className: "beside" }, list, book));
  document.title = "Alerts";

  async function open(alert) {
    name = alert;
    const answer = await fetch(`/api/runbooks/${encodeURIComponent(alert)}`);
    if (answer.ok) {
      // Rendered by the server from the repository's own Markdown, HTML in it switched off.
      book.innerHTML = await answer.text();
      book.prepend(el("h1", {}, alert));
    } else book.replaceChildren(el("p", { className: "none" }, (await answer.json()).error));
    for (const row of list.querySelectorAll("[data-alert]")) row.classList.toggle("chosen", row.dataset.alert === alert);
    document.title = alert;
  }

  function row(alert, now, names) {
    const { labels, annotations } = alert;
    const title = labels.alertname;
    const named = (id) => names.get(id) || "a silence";
    return el("section", { className: `alert ${alert.state} is-${labels.severity}`, data: { alert: title } },
      el("header", {},
        el("a", { href: `/runbooks/${title}`, onclick: (event) => { event.preventDefault(); history.pushState(null, "", `/runbooks/${title}`); open(title); } }, title),
        el("time", { title: alert.since }, `for ${ago(now - Date.parse(alert.since) / 1000)}`)),
      el("p", {}, annotations.summary || "", " ", annotations.description || ""),
      el("footer", {}, LABELS.filter((label) => labels[label]).map((label) => el("span", { title: label }, labels[label])),
        alert.by.length ? el("span", {}, `held back by ${alert.by.map(named).join(", ")}`) : null,
        annotations.dashboard_url ? link(annotations.dashboard_url.replace(/^https?:\/\/[^/]+/, ""), "dashboard") : null));
  }

  async function refresh() {
    try {
      const found = await fetchJson("/api/alerts");
      const names = new Map(found.alerts.map((alert) => [alert.id, alert.labels.alertname]));
      const groups = STATES.map((state) => {
        const those = found.alerts.filter((alert) => alert.state === state && alert.labels.alertname !== "Watchdog")
          .sort((left, right) => (left.labels.severity + left.labels.alertname).localeCompare(right.labels.severity + right.labels.alertname));
        if (!those.length && state !== "firing") return null;
        return [el("h2", {}, `${state} ${those.length || ""}`),
          those.length ? those.map((alert) => row(alert, found.now, names)) : el("p", { className: "none" }, "Nothing fires.")];
      });
      const others = el("details", {}, el("summary", {}, `All ${found.runbooks.length} runbooks`),
        found.runbooks.map((alert) => el("a", { href: `/runbooks/${alert}`, data: { alert } }, alert)));
      others.open = list.querySelector("details")?.open ?? false;
      list.replaceChildren(...found.problems.map((text) => el("p", { className: "problem" }, text)), ...groups.flat(2).filter(Boolean), others);
      for (const chosen of list.querySelectorAll(`[data-alert]`)) chosen.classList.toggle("chosen", chosen.dataset.alert === name);
    } catch (error) {
      list.replaceChildren(el("p", { className: "problem" }, error.message));
    }
    page.timer = setTimeout(refresh, REFRESH_SECONDS * 1000);
  }

  await refresh();
  if (name) await open(name);
  return page;
}
