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
  if (is_new) soon();
}

// The first change is shown at once. Where one follows the other, a page asks the more seldom the slower the server is: else
// many browsers that ask for each change would be a load that feeds itself.
let timer = null;
let is_asking = false;
let due = 0;

function soon() {
  if (timer !== null || is_asking) return;
  timer = setTimeout(async () => {
    timer = null;
    is_asking = true;
    const [asked, started] = [version, performance.now()];
    await refresh().catch(() => {});
    const now = performance.now();
    due = now + Math.max(1000, 5 * (now - started));
    is_asking = false;
    if (asked !== version) soon();
  }, Math.max(0, due - performance.now()));
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

// Somebody reads or types: what is there stays, and they are told that there is news.
function is_busy() {
  const main = document.querySelector("main");
  const found = document.querySelector("details[open], dialog[open]") || !document.getSelection().isCollapsed
    || (main.contains(document.activeElement) && main !== document.activeElement);
  if (found) document.querySelector("[data-news]").hidden = false;
  return found;
}

async function refresh() {
  if (is_busy()) return;
  const main = document.querySelector("main");
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  // They may have begun while the page was on its way.
  if (is_busy()) return;
  const before = new Map(Array.from(main.querySelectorAll(".big, td"), (each, n) => [n, each.textContent]));
  const orders = Array.from(main.querySelectorAll("table[data-sort]"), order_of);
  main.replaceChildren(...page.querySelector("main").childNodes);
  main.querySelectorAll("table[data-sort]").forEach((table, n) => make_sortable(table, orders[n]));
  main.querySelectorAll(".big, td").forEach((each, n) => {
    if (before.has(n) && before.get(n) !== each.textContent) each.classList.add("new");
  });
  const said = page.querySelector("[data-live]");
  const here = document.querySelector("[data-live]");
  if (said && here) here.replaceChildren(...said.childNodes);
  document.querySelector("[data-news]").hidden = true;
}

// A tab that has just opened asks which version the others are told of: what they hear next is new to it, too.
news.addEventListener("message", (event) => {
  if (event.data !== "?") heard(event.data);
  else if (version !== null) news.postMessage(version);
});
news.postMessage("?");
document.addEventListener("visibilitychange", () => (document.hidden ? stop && stop() : listen()));
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-news] button")) location.reload();
});
listen();

// What could not be shown comes by itself once it can.
if (document.querySelector("[data-retry]")) {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (answer && answer.ok) location.reload();
  }, 5000);
}

// The queue: j and k move through the list, Enter shows the customer beside it, o opens their page.
function rows() {
  return Array.from(document.querySelectorAll("[data-queue] .qrow a"));
}

function rove(link) {
  for (const each of rows()) each.tabIndex = each === link ? 0 : -1;
}

async function beside(link) {
  const answer = await fetch(link.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) {
    location.assign(link.href);
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("#detail").replaceChildren(...page.querySelector("#detail").childNodes);
  document.querySelector("#detail").scrollTop = 0;
  for (const row of document.querySelectorAll("[data-queue] .qrow")) row.removeAttribute("aria-current");
  link.closest(".qrow").setAttribute("aria-current", "true");
  history.replaceState(null, "", link.href.replace(/#.*/, ""));
}

document.addEventListener("click", (event) => {
  const row = event.target.closest("[data-queue] .qrow");
  if (!row || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (!matchMedia("(min-width: 941px)").matches) return;
  event.preventDefault();
  const link = row.querySelector("a");
  rove(link);
  link.focus();
  beside(link);
});
document.addEventListener("keydown", (event) => {
  const list = document.querySelector("[data-queue]");
  if (!list || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, details[open]")) return;
  const links = rows();
  const here = links.indexOf(document.activeElement);
  const current = links.findIndex((link) => link.closest(".qrow").hasAttribute("aria-current"));
  const step = { j: 1, k: -1, ...(here >= 0 ? { ArrowDown: 1, ArrowUp: -1 } : {}) }[event.key];
  if (step && links.length) {
    event.preventDefault();
    const next = links[Math.min(links.length - 1, Math.max(0, here < 0 ? Math.max(0, current) : here + step))];
    rove(next);
    next.focus();
  } else if (event.key === "o" && links.length) {
    location.assign(links[here < 0 ? Math.max(0, current) : here].dataset.page);
  }
});
rove(document.querySelector("[data-queue] .qrow[aria-current] a") || rows()[0]);

// What can be done about the customer: a assigns, s snoozes, n notes, x records what was done.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, details[open]")) return;
  const found = "asnx".includes(event.key) && document.querySelector(`[data-do] [data-key="${event.key}"]`);
  if (!found) return;
  event.preventDefault();
  found.click();
  const field = found.parentElement.open && found.parentElement.querySelector("textarea, select, button");
  if (field) field.focus();
});
// A second click sends nothing: the answer is on its way.
document.addEventListener("submit", (event) => {
  if (!event.target.closest("[data-do]")) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "1";
});

// The palette: `/` opens it, letters find, arrows choose, Enter goes there. The field keeps the focus, and says what is chosen.
function make_palette(palette) {
  const field = palette.querySelector("input");
  const list = palette.querySelector("[role=listbox]");
  let asked = 0;
  let shown = null;
  let hurried = false;

  function choices() {
    return Array.from(list.querySelectorAll("[role=option]"));
  }

  function choose(option) {
    for (const each of choices()) each.setAttribute("aria-selected", each === option ? "true" : "false");
    if (option) field.setAttribute("aria-activedescendant", option.id);
    else field.removeAttribute("aria-activedescendant");
    if (option) option.scrollIntoView({ block: "nearest" });
  }

  function offer(page) {
    const groups = Array.from(page.querySelectorAll("[data-found] section"), (section, n) => {
      const group = document.createElement("div");
      group.setAttribute("role", "group");
      const title = document.createElement("span");
      title.id = `palette-group-${n}`;
      title.textContent = section.querySelector("h2").textContent;
      group.setAttribute("aria-labelledby", title.id);
      group.append(title, ...Array.from(section.querySelectorAll("li"), (item, m) => {
        const option = document.createElement("div");
        option.setAttribute("role", "option");
        option.id = `palette-${n}-${m}`;
        option.dataset.href = item.querySelector("a").getAttribute("href");
        option.textContent = item.textContent;
        return option;
      }));
      return group;
    });
    list.replaceChildren(...groups);
    field.setAttribute("aria-expanded", groups.length ? "true" : "false");
    const status = palette.querySelector("[role=status]");
    status.textContent = groups.length ? "" : status.dataset.none;
    choose(choices()[0]);
  }

  async function find() {
    const number = ++asked;
    const wanted = field.value;
    const answer = await fetch(`/find?q=${encodeURIComponent(wanted)}`).catch(() => null);
    if (number !== asked || !answer || !answer.ok || answer.redirected) return;
    const text = await answer.text();
    if (number !== asked) return;
    offer(new DOMParser().parseFromString(text, "text/html"));
    shown = wanted;
    if (hurried) go();
  }

  function go() {
    const option = choices().find((each) => each.getAttribute("aria-selected") === "true");
    hurried = false;
    if (option) location.assign(option.dataset.href);
  }

  function open() {
    if (palette.open) return;
    field.value = "";
    shown = null;
    hurried = false;
    palette.showModal();
    find();
  }

  document.addEventListener("keydown", (event) => {
    const is_typing = event.target.closest("input, select, textarea");
    const is_slash = event.key === "/" && !is_typing && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!is_slash && !(event.key === "k" && (event.ctrlKey || event.metaKey))) return;
    event.preventDefault();
    open();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-find]") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  let timer = null;
  field.addEventListener("input", () => {
    hurried = false;
    clearTimeout(timer);
    timer = setTimeout(find, 120);
  });
  field.addEventListener("keydown", (event) => {
    const found = choices();
    const at = found.findIndex((each) => each.getAttribute("aria-selected") === "true");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) {
      event.preventDefault();
      choose(found[(at + step + found.length) % found.length]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      // Who types fast means what they typed, not what was found before it.
      if (field.value === shown) return go();
      hurried = true;
      clearTimeout(timer);
      find();
    }
  });
  palette.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) location.assign(option.dataset.href);
    else if (event.target === palette) palette.close();
  });
}
document.querySelectorAll("[data-palette]").forEach(make_palette);

// The column that a table is sorted by, and which way; null where nobody has sorted it.
function order_of(table) {
  const head = table.tHead.querySelector("[aria-sort]");
  return head && { at: head.cellIndex, name: head.textContent, falls: head.getAttribute("aria-sort") === "descending" };
}

// Tables sort by a click on a head: numbers and durations by their size, times by what `data-by` says, words by the alphabet, what
// is not known last. New figures keep the order.
function make_sortable(table, order) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 3) return;
  const is_polish = document.documentElement.lang === "pl";
  const units = { d: 86400, h: 3600, min: 60, s: 1 };

  function size(text) {
    const bare = text.replace(/[\s▲▼+×%±≤]/g, "").replace("−", "-");
    const parts = bare.match(/^(?:\d+(?:d|h|min|s))+$/) && bare.match(/\d+(?:d|h|min|s)/g);
    if (parts) return parts.reduce((sum, each) => sum + parseInt(each, 10) * units[each.replace(/\d+/, "")], 0);
    const number = is_polish ? bare.replace(",", ".") : bare.replace(/,/g, "");
    return /^-?\d+(\.\d+)?$/.test(number) ? parseFloat(number) : null;
  }

  function said(cell) {
    const copy = cell.cloneNode(true);
    for (const each of copy.querySelectorAll(".pm, .sr, svg")) each.remove();
    return copy.textContent.trim();
  }

  function sort(head, at, falls) {
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const rows = Array.from(body.rows, (row) => {
      const text = row.cells[at].dataset.by || said(row.cells[at]);
      return { row, text, size: size(text), is_known: !/^[–-]?$/.test(text) };
    });
    const by_size = rows.some((each) => each.size !== null) && head.classList.contains("r");
    const compare = (one, other) => {
      if (one.is_known !== other.is_known) return one.is_known ? -1 : 1;
      if (!by_size) return (falls ? -1 : 1) * one.text.localeCompare(other.text, document.documentElement.lang, { numeric: true });
      if (one.size === null || other.size === null) return (one.size === null) - (other.size === null);
      return (falls ? -1 : 1) * (one.size - other.size);
    };
    body.append(...rows.sort(compare).map((each) => each.row));
  }

  Array.from(table.tHead.rows[0].cells).forEach((head, at) => {
    if (head.querySelector("svg, a, button") || !said(head)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "by";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      sort(head, at, before ? before === "ascending" : head.classList.contains("r"));
    });
    head.append(button);
    if (order && order.at === at && order.name === head.textContent) sort(head, at, order.falls);
  });
}
document.querySelectorAll("table[data-sort]").forEach((table) => make_sortable(table));
