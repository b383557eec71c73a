// Brings the page up to date without loading it anew. What has not changed stays; where the keyboard stands it stays,
// and a part in which text is marked waits.

const EVERY_SECONDS = 5;
const silent = document.getElementById("silent");

function isMarked(part) {
  const selection = getSelection();
  return !selection.isCollapsed && part.contains(selection.anchorNode);
}

function replace(part, fresh) {
  const here = part.contains(document.activeElement) ? document.activeElement : null;
  part.replaceChildren(...fresh.childNodes);
  if (here) [...part.querySelectorAll("a")].find((link) => link.href === here.href)?.focus({ preventScroll: true });
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(EVERY_SECONDS * 1000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    for (const fresh of page.querySelectorAll("[data-part]")) {
      const part = document.querySelector(`[data-part="${fresh.dataset.part}"]`);
      if (part.innerHTML !== fresh.innerHTML && !isMarked(part)) replace(part, fresh);
    }
    silent.hidden = true;
  } catch {
    silent.hidden = false;
  }
  setTimeout(refresh, EVERY_SECONDS * 1000);
}

setTimeout(refresh, EVERY_SECONDS * 1000);
