"use strict";
// Sorting, filters, the panel behind a number. All content is in the page without this script.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const status = $("#announcement");
  const announce = (text) => { status.textContent = ""; status.textContent = text; };

  $$(".js-only").forEach((element) => { element.hidden = false; });

  // ---- sort: up, down, as it was; what is missing stays last ----
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const valueOf = (row, k, numeric) => {
    const cell = row.cells[k];
    if (!numeric) return cell.textContent.trim();
    return cell.dataset.sort === "" ? NaN : Number(cell.dataset.sort);
  };
  const isMissing = (value) => value === "" || Number.isNaN(value);
  const sortBy = (table, head, k) => {
    const numeric = head.classList.contains("num");
    const before = head.getAttribute("aria-sort");
    const next = before === "ascending" ? "descending" : before === "descending" ? null : "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows];
    if (next === null) {
      rows.sort((a, b) => a.place - b.place);
    } else {
      const sign = next === "ascending" ? 1 : -1;
      const keyed = rows.map((row) => [valueOf(row, k, numeric), row]);
      keyed.sort(([a, x], [b, y]) => {
        if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b) || x.place - y.place;
        return sign * (numeric ? a - b : order.compare(a, b)) || x.place - y.place;
      });
      keyed.forEach(([, row], place) => { rows[place] = row; });
    }
    body.append(...rows);
    $$("th[aria-sort]", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
    if (next) head.setAttribute("aria-sort", next);
    table.classList.toggle("sorted", next !== null);
    announce(next ? `sorted by ${head.textContent.trim()}, ${next}` : "in the order of the report");
    rove(table);
  };
  for (const table of $$("table.data")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tBodies[0].rows].forEach((row, place) => { row.place = place; });
    [...table.tHead.rows[0].cells].forEach((head, k) => {
      const button = make("button", { type: "button", className: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sortBy(table, head, k));
    });
  }

  // ---- filter ----
  const filterTable = (table) => {
    const inputs = $$(`[data-filter="${table.id}"]`);
    const words = inputs.filter((input) => input.type === "search")
      .flatMap((input) => input.value.toLowerCase().split(/\s+/).filter(Boolean));
    const axes = inputs.filter((input) => input.selectedIndex > 0).map((input) => [Number(input.dataset.axis), input.value]);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const text = `${row.textContent} ${row.dataset.key ?? ""}`.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word))
        && axes.every(([axis, label]) => row.cells[axis].textContent === label));
    }
    const left = rows.filter((row) => !row.hidden).length;
    $(`[data-shown="${table.id}"]`).textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
    rove(table);
  };
  for (const input of $$("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    input.addEventListener("input", () => filterTable(table));
    if (input.value && input.type === "search") input.value = "";
    if (input.selectedIndex > 0) input.selectedIndex = 0;
  }

  // ---- numbers: one stop for the Tab key per table, arrows inside it ----
  function rove(table) {
    const links = $$("a.cell", table);
    if (!links.length) return;
    const visible = links.filter((link) => !link.closest("tr").hidden);
    const held = visible.includes(document.activeElement) ? document.activeElement : visible[0];
    links.forEach((link) => { link.tabIndex = link === held ? 0 : -1; });
  }
  const step = (link, key) => {
    const cell = link.closest("td");
    const rows = [...link.closest("tbody").rows].filter((row) => !row.hidden);
    const at = rows.indexOf(cell.parentElement);
    const inRow = (row) => $$("a.cell", row);
    const line = inRow(cell.parentElement);
    const k = line.indexOf(link);
    const inColumn = (row) => row && $("a.cell", row.cells[cell.cellIndex]);
    switch (key) {
      case "ArrowLeft": return line[k - 1];
      case "ArrowRight": return line[k + 1];
      case "ArrowUp": return inColumn(rows[at - 1]);
      case "ArrowDown": return inColumn(rows[at + 1]);
      case "Home": return line[0];
      case "End": return line.at(-1);
      default: return null;
    }
  };
  for (const table of $$("article.table table.data")) {
    $$("a.cell", table).forEach((link) => {
      link.setAttribute("role", "button");
      link.setAttribute("aria-haspopup", "dialog");
    });
    rove(table);
    table.addEventListener("keydown", (event) => {
      const link = event.target.closest?.("a.cell");
      if (!link || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " ") { event.preventDefault(); openPanel(link); return; }
      const next = step(link, event.key);
      if (!next) return;
      event.preventDefault();
      next.focus();
      rove(table);
    });
    table.addEventListener("focusin", (event) => { if (event.target.closest("a.cell")) rove(table); });
    table.addEventListener("click", (event) => {
      const link = event.target.closest("a.cell") ?? $("a.cell", event.target.closest("td.num") ?? make("i"));
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      openPanel(link);
    });
  }

  // Row labels stay visible while a wide table is scrolled: each begins where the ones before it end.
  const pin = () => {
    for (const table of $$("article.table table.data")) {
      const widths = $$("th.pin", table.tHead).map((cell) => cell.offsetWidth);
      let left = 0;
      widths.forEach((width, k) => { table.style.setProperty(`--pin-${k}`, `${left}px`); left += width; });
      table.classList.toggle("pinned", left < table.parentElement.clientWidth * 0.5 && widths.length < 5);
    }
  };
  pin();
  addEventListener("resize", pin);

  // ---- the panel: reads the line of the full list, and the lines of its runs ----
  const panel = $("#panel");
  const body = $("#panel-body");
  let opener = null;
  const headOf = (table) => [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const runsTable = $("#runs-table");
  const runKeys = runsTable ? [...runsTable.tHead.rows[0].cells].map((cell) => cell.dataset.key) : [];
  const sameInAll = new Map($$("[data-same]").map((fact) => [fact.dataset.same, fact.textContent]));
  const runLine = (link, keys) => {
    const id = link.getAttribute("href")?.slice(1);
    const row = id ? document.getElementById(id) : null;
    const of = (key) => (row ? row.cells[runKeys.indexOf(key)]?.textContent ?? sameInAll.get(key) ?? "" : "");
    const name = row ? make("a", { href: `#${id}`, textContent: link.textContent }) : link.textContent;
    if (row) name.addEventListener("click", () => { opener = null; panel.close(); });
    return make("tr", {}, make("th", { scope: "row" }, make("code", {}, name)),
      ...keys.map((key) => make("td", { textContent: of(key) })));
  };
  const openPanel = (link) => {
    const line = document.getElementById(link.getAttribute("href").slice(1));
    const names = headOf(line.closest("table"));
    const place = link.closest("td");
    const head = place.closest("table").tHead.rows[0].cells[place.cellIndex];
    const labels = $$(".pin", place.parentElement).map((cell) => cell.textContent.trim()).filter(Boolean);
    const facts = make("dl", { className: "facts" });
    [...line.cells].forEach((cell, k) => {
      const text = cell.textContent.trim();
      if (k < 2 || k === line.cells.length - 1 || !text) return;
      facts.append(make("div", {}, make("dt", { textContent: names[k] }), make("dd", { textContent: text })));
    });
    const links = [...line.cells[line.cells.length - 1].children];
    const parts = [facts];
    if (links.length) {
      const metric = head.dataset.key.replace(/^delta\./, "");
      const keys = ["seed", "state", runKeys.includes(metric) ? metric : "AP", "code"];
      const labels = ["folder of the run", ...keys.map((key) =>
        runsTable?.tHead.rows[0].cells[runKeys.indexOf(key)]?.textContent.trim() ?? key)];
      const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Runs behind this number" });
      scroll.append(make("table", { className: "data" },
        make("thead", {}, make("tr", {}, ...labels.map((label) => make("th", { scope: "col", textContent: label })))),
        make("tbody", {}, ...links.map((one) => runLine(one, keys)))));
      const store = panel.dataset.store ? make("span", { className: "count" }, " in ", make("code", { textContent: panel.dataset.store })) : "";
      parts.push(make("h3", {}, links.length === 1 ? "The run behind it" : `The ${links.length} runs behind it`, store), scroll);
    }
    const command = make("code", { textContent: line.dataset.command });
    const copy = make("button", { type: "button", className: "control", textContent: "Copy" });
    copy.addEventListener("click", () => copyText(command, copy));
    parts.push(make("div", { className: "command" }, command, copy));
    body.replaceChildren(...parts);
    $("#panel-title").textContent = `${labels.join(" / ") || line.cells[0].textContent}: ${head.textContent.trim()}`;
    opener = link;
    panel.showModal();
    panel.scrollTop = 0;
  };
  panel.addEventListener("close", () => {
    if (opener) opener.focus();
    opener = null;
  });
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  $("#panel-close").addEventListener("click", () => panel.close());

  // The clipboard needs a permission that a file may not have; then the text is selected for the reader's own keys.
  const copyText = async (element, button) => {
    const done = (text) => { button.textContent = text; announce(text); setTimeout(() => { button.textContent = "Copy"; }, 2000); };
    try {
      await navigator.clipboard.writeText(element.textContent);
      done("Copied");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(element);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      let copied = false;
      try { copied = document.execCommand("copy"); } catch { /* selected at least */ }
      done(copied ? "Copied" : "Selected");
    }
  };

  // ---- data of a figure as a file ----
  for (const data of $$("pre[data-whole]")) {
    const save = make("button", { type: "button", className: "control", textContent: `Save ${data.dataset.file}` });
    save.addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([data.textContent], { type: "text/csv" }));
      make("a", { href: url, download: data.dataset.file }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
    data.before(save);
  }

  // ---- contents: where the reader is ----
  const entries = new Map($$("nav.contents li a").map((link) => [link.hash.slice(1), link]));
  const targets = [...entries.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    let here = null;
    for (const target of targets) if (target.getBoundingClientRect().top < innerHeight * 0.3) here = target;
    entries.forEach((link, id) => {
      const on = here && here.id === id;
      if (on) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
      link.parentElement.classList.toggle("here", Boolean(here) && $$("a", link.parentElement).some((a) => a.hash === `#${here.id}`));
    });
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();

  // A link into a closed list opens it; older browsers do not do so themselves.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const around = target && target.closest("details");
    if (around && !around.open) { around.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  reveal();

  // ---- print: open what belongs on paper, shrink what is wider than a page ----
  const PAGE_PX = 940;
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = $$("details.print-open:not([open])");
    opened.forEach((details) => { details.open = true; });
    document.documentElement.classList.add("printing");
    $$(".scroll > table").map((table) => [table, table.offsetWidth]).forEach(([table, width]) => {
      if (width > PAGE_PX) table.style.setProperty("--fit", String(PAGE_PX / width));
    });
  });
  addEventListener("afterprint", () => {
    opened.forEach((details) => { details.open = false; });
    document.documentElement.classList.remove("printing");
    $$(".scroll > table").forEach((table) => table.style.removeProperty("--fit"));
  });
})();
