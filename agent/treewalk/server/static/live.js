"use strict";
// Keeps a page up to date: pieces of it come by server-sent events, and take the place of those with the same id.
(() => {
  const said = document.getElementById("live");
  const tell = (text) => { if (said && said.textContent !== text) said.textContent = text; };

  const plain = (element) => {
    const copy = element.cloneNode(true);
    for (const one of [copy, ...copy.querySelectorAll("details[open]")]) one.removeAttribute("open");
    return copy.outerHTML;
  };

  // A tree keeps its rows: only what is said in them becomes another one.
  const putCells = (old, fresh) => {
    const [before, after] = [old, fresh].map((one) => [...one.querySelectorAll("[data-cell]")]);
    if (!after.length || before.length !== after.length || before.some((one, k) => one.id !== after[k].id)) return false;
    before.forEach((one, k) => {
      if (one.outerHTML === after[k].outerHTML) return;
      const details = one.closest("details");
      one.replaceWith(after[k]);
      if (details?.open) details.dispatchEvent(new Event("toggle")); // so that it is asked for again
    });
    return true;
  };

  // What the reader has opened, and where they are, stays as it is.
  const put = (fresh) => {
    const old = fresh.id && document.getElementById(fresh.id);
    if (!old || plain(old) === plain(fresh) || putCells(old, fresh)) return;
    const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(fresh);
    for (const id of open) { const one = document.getElementById(id); if (one) one.open = true; }
    if (focus) document.getElementById(focus)?.focus();
    htmx.process(fresh);
  };

  const follow = (element) => {
    const source = new EventSource(element.dataset.events);
    source.addEventListener("open", () => tell("Live"));
    source.addEventListener("part", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = event.data;
      for (const fresh of [...holder.content.children]) put(fresh);
    });
    source.addEventListener("error", () => {
      tell("Not live: the connection was lost, trying again");
      if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(element), 5000);
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    for (const element of document.querySelectorAll("[data-events]")) follow(element);
  });
})();
