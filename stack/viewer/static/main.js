// Which page an address shows, and what is the same on all of them.

import { alerts } from "./alerts.js";
import { dashboard } from "./dashboard.js";
import { el, fetchJson } from "./dom.js";
import { fromExplore, search, trace } from "./traces.js";

const head = document.getElementById("bar");
const main = document.getElementById("main");
const nav = el("nav");
const controls = el("div", { className: "controls" });
const help = el("div", { className: "help", popover: "auto" });
const KEYS = {
  "1 … 6": "dashboards", a: "alerts", s: "search traces", "[ ]": "half a range back, forth", "- +": "wider, closer",
  l: "back to live", r: "refresh now", t: "dark or light", "?": "this",
};
let page = null;

const plotly = new Promise((done, failed) => {
  const script = el("script", { src: "/static/plotly.min.js", onload: done, onerror: () => failed(new Error("plotly.min.js did not load")) });
  document.head.append(script);
});

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  page?.refresh?.();
}

function navigate(address) {
  history.pushState(null, "", address);
  return show();
}

async function show() {
  page?.close?.();
  page = null;
  const [, kind, name] = location.pathname.split("/").map(decodeURIComponent);
  for (const item of nav.children) {
    const here = item.pathname === location.pathname || (kind === "runbooks" && item.pathname === "/alerts");
    item.ariaCurrent = here ? "page" : null;
  }
  window.scrollTo(0, 0);
  try {
    if (kind === "d") {
      await plotly;
      page = await dashboard(name, controls, main, navigate);
    } else if (kind === "alerts" || kind === "runbooks") page = await alerts(name, controls, main, navigate);
    else if (kind === "trace") page = await trace(name, controls, main);
    else if (kind === "traces") await search(controls, main);
    else if (kind === "explore") {
      history.replaceState(null, "", `/traces?${fromExplore(new URLSearchParams(location.search))}`);
      await search(controls, main);
    }
  } catch (error) {
    main.replaceChildren(el("p", { className: "problem" }, error.message));
  }
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || anchor.origin !== location.origin || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  navigate(anchor.getAttribute("href"));
});
window.addEventListener("popstate", show);

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.metaKey || event.ctrlKey || event.altKey) return;
  const own = {
    t: toggleTheme, a: () => navigate("/alerts"), s: () => navigate("/traces"), "?": () => help.togglePopover(),
    ...Object.fromEntries([...nav.querySelectorAll("a[href^='/d/']")].map((item, index) => [String(index + 1), () => item.click()])),
  };
  const action = own[event.key] || page?.keys?.[event.key];
  if (action) { event.preventDefault(); action(); }
});

async function start() {
  help.append(...Object.entries(KEYS).map(([key, text]) => el("p", {}, el("kbd", {}, key), " ", text)));
  head.replaceChildren(nav, el("button", { className: "icon", title: "dark or light (t)", onclick: toggleTheme }, "◐"),
    el("button", { className: "icon", title: "keys (?)", onclick: () => help.togglePopover() }, "?"), help, controls);
  const boards = await fetchJson("/api/dashboards").catch(() => []);
  nav.replaceChildren(
    ...boards.map((board) => el("a", { href: `/d/${board.uid}`, title: board.description }, board.title.replace(/^.* \/ /, ""))),
    el("a", { href: "/alerts" }, "Alerts"), el("a", { href: "/traces" }, "Traces"));
  await show();
}

start();
