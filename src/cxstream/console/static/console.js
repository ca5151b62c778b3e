// Small behaviours; without them every page works by its links and forms.
"use strict";

// A menu closes when something else is wanted.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Figures follow the read model. One tab of the browser holds the stream and tells the others; a hidden tab lets it go.
const news = new BroadcastChannel("cxstream-live");
let version = null;
let stop = null;

function heard(found) {
  const is_new = version !== null && version !== found;
  version = found;
  if (is_new) refresh();
}

function listen() {
  if (stop || document.hidden || !document.querySelector("[data-live]")) return;
  const given_up = new AbortController();
  let source = null;
  stop = () => {
    given_up.abort();
    if (source) source.close();
    stop = null;
  };
  navigator.locks.request("cxstream-live", { signal: given_up.signal }, () => new Promise((done) => {
    given_up.signal.addEventListener("abort", done);
    source = new EventSource("/live");
    source.addEventListener("version", (event) => {
      document.body.classList.remove("stale");
      news.postMessage(event.data);
      heard(event.data);
    });
    source.addEventListener("error", () => document.body.classList.add("stale"));
  })).catch(() => {});
}

async function refresh() {
  const main = document.querySelector("main");
  const is_busy = document.querySelector("details[open], dialog[open]") || !document.getSelection().isCollapsed
    || (main.contains(document.activeElement) && main !== document.activeElement);
  if (is_busy) {
    document.querySelector("[data-news]").hidden = false;
    return;
  }
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const before = new Map(Array.from(main.querySelectorAll(".big, td"), (each, n) => [n, each.textContent]));
  main.replaceChildren(...page.querySelector("main").childNodes);
  main.querySelectorAll(".big, td").forEach((each, n) => {
    if (before.has(n) && before.get(n) !== each.textContent) each.classList.add("new");
  });
  const said = page.querySelector("[data-live]");
  if (said) document.querySelector("[data-live]").replaceChildren(...said.childNodes);
  document.querySelector("[data-news]").hidden = true;
}

news.addEventListener("message", (event) => heard(event.data));
document.addEventListener("visibilitychange", () => (document.hidden ? stop && stop() : listen()));
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-news] button")) location.reload();
});
listen();
