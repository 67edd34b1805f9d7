"use strict";

const box = document.getElementById("q");
const help = document.getElementById("keys");
const items = () => [...document.querySelectorAll("[data-item]")];

function focusItem(number) {
  const all = items();
  if (all.length) {
    all[Math.max(0, Math.min(number, all.length - 1))].focus();
  }
}

function step(by) {
  const at = items().indexOf(document.activeElement);
  focusItem(at < 0 ? 0 : at + by);
}

// the item of the nearest row above or below that is nearest in that row
function stepRow(down) {
  const here = document.activeElement.getBoundingClientRect();
  if (!document.activeElement.matches("[data-item]")) {
    focusItem(0);
    return;
  }
  let best = null;
  for (const item of items()) {
    const there = item.getBoundingClientRect();
    const rows = down ? there.top - here.top : here.top - there.top;
    if (rows > 1) {
      const distance = rows * 1000 + Math.abs(there.left - here.left);
      if (best === null || distance < best.distance) {
        best = { item, distance };
      }
    }
  }
  if (best !== null) {
    best.item.focus();
  }
}

function goBack() {
  if (document.referrer.startsWith(location.origin) && history.length > 1) {
    history.back();
  } else if (location.pathname !== "/") {
    location.assign("/");
  }
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (link) {
    link.click();
  }
}

const actions = {
  "/": () => { box.focus(); box.select(); },
  "?": () => help.showModal(),
  j: () => step(1),
  k: () => step(-1),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  ArrowDown: () => stepRow(true),
  ArrowUp: () => stepRow(false),
  "]": () => follow("[rel=next]"),
  "[": () => follow("[rel=prev]"),
  s: () => follow("#samples"),
  f: () => follow("#fields"),
  Escape: goBack,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) {
    return; // the browser's own keys; the dialog closes itself
  }
  if (event.target === box) {
    if (event.key === "Escape" || event.key === "ArrowDown") {
      event.preventDefault();
      box.blur();
      focusItem(0);
    }
    return;
  }
  if (event.target.matches("select, input, textarea, summary") && event.key !== "Escape") {
    return;
  }
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

// coming back to a list, the item that was opened has the focus again
const place = "item " + location.href;
document.addEventListener("click", (event) => {
  const item = event.target.closest("[data-item]");
  if (item) {
    sessionStorage.setItem(place, items().indexOf(item));
  }
});
addEventListener("pageshow", (event) => {
  const [entry] = performance.getEntriesByType("navigation");
  if ((event.persisted || (entry && entry.type === "back_forward")) && sessionStorage.getItem(place) !== null) {
    focusItem(Number(sessionStorage.getItem(place)));
  } else if (location.pathname === "/search") {
    focusItem(0);
  }
});

// slow parts of a page come after the page; one after the other, since each keeps a processor busy
async function loadParts() {
  const parts = [...document.querySelectorAll("[data-load]")];
  parts.forEach((part) => { part.textContent = part.dataset.meanwhile; });
  for (const part of parts) {
    try {
      const answer = await fetch(part.dataset.load + "&part=");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      part.replaceChildren(page.querySelector(".figures, .grid, .error"));
    } catch {
      part.textContent = "this could not be loaded: is keyclip browse still running?";
    }
  }
}
loadParts();
