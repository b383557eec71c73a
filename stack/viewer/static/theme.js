// Before the first paint, so that a page never flashes in the other theme.
const chosen = localStorage.getItem("theme");
document.documentElement.dataset.theme =
  chosen || (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
