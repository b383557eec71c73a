// What fires, is pending, is held back; beside it the runbook.

import { el, fetchJson, link, refill } from "./dom.js";
import { ago } from "./format.js";

const REFRESH_SECONDS = 5;
const ALIKE = ["alertname", "severity", "service", "env"]; // what the alerts of one card have in common
const LABELS = ["scope", "http_route", "instance", "tier"];
const SECTIONS = ["Pages", "Tickets", "Pending", "Held back", "Sent to nobody"]; // as they are read
const RANK = { page: 0, ticket: 1 };

// A severity that we do not know is taken for a page.
function section({ state, labels }) {
  if (labels.severity === "none") return "Sent to nobody";
  if (state === "pending") return "Pending";
  if (state !== "firing") return "Held back";
  return labels.severity === "ticket" ? "Tickets" : "Pages";
}

const where = (alert) => LABELS.map((label) => alert.labels[label]).join(" ");
const rank = ({ labels }) => `${RANK[labels.severity] ?? 2} ${labels.alertname}`;
const inOrder = (key) => (left, right) => key(left).localeCompare(key(right));

// Alerts that differ in their route or scope alone are one card.
function cards(alerts) {
  const alike = Map.groupBy(alerts.toSorted(inOrder(rank)), (alert) => [alert.state, ...ALIKE.map((label) => alert.labels[label])].join("\n"));
  return [...alike.values()].map((those) => those.toSorted(inOrder(where)));
}

export async function alerts(name, bar, main) {
  const list = el("div", { className: "alerts" });
  const book = el("article", { className: "runbook", tabIndex: 0, role: "region", ariaLabel: "Runbook" },
    el("p", { className: "none" }, "Choose an alert: its runbook opens here."));
  const page = { keys: {}, close: () => clearTimeout(page.timer) };
  bar.replaceChildren(el("h1", {}, "What the pager is sent, and what is held back"));
  main.replaceChildren(el("div", { className: "beside" }, list, book));
  document.title = "Alerts";

  function choose() {
    for (const one of list.querySelectorAll("[data-alert]")) one.classList.toggle("chosen", one.dataset.alert === name);
  }

  async function open(alert) {
    name = alert;
    const answer = await fetch(`/api/runbooks/${encodeURIComponent(alert)}`);
    if (answer.ok) {
      // Rendered by the server from the repository's own Markdown, HTML in it switched off.
      book.innerHTML = await answer.text();
      book.prepend(el("h2", { className: "title" }, alert));
    } else book.replaceChildren(el("p", { className: "none" }, (await answer.json()).error));
    choose();
    document.title = alert;
  }

  // By a click: on a phone the runbook is below the list.
  async function follow(event, alert) {
    event.preventDefault();
    history.pushState(null, "", `/runbooks/${alert}`);
    await open(alert);
    book.focus({ preventScroll: true }); // which is content with a part of it in view
    book.scrollIntoView();
  }

  function texts(those) {
    const alike = Map.groupBy(those, ({ annotations }) => [annotations.summary, annotations.description].filter(Boolean).join(" "));
    return [...alike].map(([text, some]) => [el("p", {}, text),
      some.map(({ labels, annotations }) => el("footer", {},
        LABELS.filter((label) => labels[label]).map((label) => el("span", { title: label }, labels[label])),
        annotations.dashboard_url ? link(annotations.dashboard_url.replace(/^https?:\/\/[^/]+/, ""), "dashboard") : null))]);
  }

  function card(those, names) {
    const [{ labels, state }] = those;
    const title = labels.alertname;
    const since = those.map((alert) => alert.since).sort()[0];
    const by = new Set(those.flatMap((alert) => alert.by).map((id) => names.get(id) || "a silence"));
    return el("section", { className: "alert", data: { alert: title, state, severity: labels.severity ?? "" } },
      el("header", {},
        el("a", { href: `/runbooks/${title}`, onclick: (event) => follow(event, title) }, title),
        el("span", {}, `${labels.severity ?? "no severity"}${labels.service ? `, ${labels.service}` : ""}`),
        el("time", { title: since, data: { since } })),
      texts(those),
      by.size ? el("footer", {}, state === "silenced" && by.has("a silence") ? "silenced" : `held back by ${[...by].join(", ")}`) : null);
  }

  let drawn = "";
  function draw({ alerts: found, problems, runbooks }) {
    const names = new Map(found.map((alert) => [alert.id, alert.labels.alertname]));
    const sections = Map.groupBy(found.filter((alert) => alert.labels.alertname !== "Watchdog"), section);
    const parts = SECTIONS.filter((title) => sections.has(title)).map((title) => {
      const those = cards(sections.get(title));
      return [el("h2", {}, `${title} ${those.length}`), those.map((some) => card(some, names))];
    });
    const quiet = !sections.has("Pages") && !sections.has("Tickets") && !problems.length;
    const others = el("details", {}, el("summary", {}, `All ${runbooks.length} runbooks`),
      runbooks.map((alert) => el("a", { href: `/runbooks/${alert}`, data: { alert }, onclick: (event) => follow(event, alert) }, alert)));
    others.open = list.querySelector("details")?.open ?? false;
    refill(list, ...problems.map((text) => el("p", { className: "problem" }, text)), ...(quiet ? [el("p", { className: "none" }, "Nothing fires.")] : []), ...parts.flat(2), others);
    choose();
  }

  async function refresh() {
    try {
      const { now, ...found } = await fetchJson("/api/alerts");
      const written = JSON.stringify(found);
      if (written !== drawn) draw(found); // what is read or marked stays while nothing changes
      drawn = written;
      for (const time of list.querySelectorAll("[data-since]")) time.textContent = `for ${ago(now - Date.parse(time.dataset.since) / 1000)}`;
    } catch (error) {
      drawn = "";
      list.replaceChildren(el("p", { className: "problem" }, error.message));
    }
    page.timer = setTimeout(refresh, REFRESH_SECONDS * 1000);
  }

  await refresh();
  if (name) await open(name);
  return page;
}
