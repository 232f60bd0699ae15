// Reloads the page, keeps what the reader chose over it, sorts and filters the rows, and shows the age of the data.
(() => {
  "use strict";
  const made = Number(document.body.dataset.made) * 1000, every = Number(document.body.dataset.every) * 1000;
  const KEY = `c2d-watch ${location.pathname}`;
  const byId = (id) => document.getElementById(id);
  const age = byId("age"), stale = byId("stale"), filter = byId("filter"), pause = byId("pause");
  const tables = [...document.querySelectorAll("table")];

  // What lasts over a reload of this tab. A file:// page may have no storage; then nothing is kept.
  const kept = { filter: "", paused: false, sort: {}, scroll: 0, focus: "", made: 0, since: 0, moved: false };
  try { Object.assign(kept, JSON.parse(sessionStorage.getItem(KEY) || "{}")); } catch { /* no storage here */ }
  const keep = () => { try { sessionStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* no storage here */ } };
  if (kept.made !== made) {
    kept.moved = kept.made > 0;
    kept.made = made;
    kept.since = Date.now();
  }
  keep();

  const words = (ms) => {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.round(s / 60)} min`;
    return s < 172800 ? `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} days`;
  };

  // Once a newer page has come, the time without another one counts: the clocks of two machines may differ.
  const silence = () => (kept.moved ? Date.now() - kept.since : Date.now() - made);
  const showAge = () => {
    age.textContent = `, ${words(silence())} ago`;
    const late = every > 0 && silence() > 3 * every + 15000;
    stale.hidden = !late;
    if (late) stale.textContent = `This page is ${words(silence())} old: the watch has ended or its machine is away. Runs may go on.`;
  };

  const isPaused = () => kept.paused || document.hidden || String(getSelection()) !== "";
  const showPause = () => {
    pause.setAttribute("aria-pressed", String(kept.paused));
    pause.textContent = kept.paused ? "Go on" : "Pause";
  };
  const reload = () => {
    if (isPaused()) return false;
    kept.scroll = scrollY;
    kept.focus = document.activeElement ? document.activeElement.id : "";
    keep();
    location.reload();
    return true;
  };

  const value = (row, column) => {
    const cell = row.cells[column], given = cell.dataset.value;
    return given === undefined ? cell.textContent : given === "" ? null : Number(given);
  };
  const order = (a, b) => {
    if (a === null || b === null) return null;
    return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  };
  const sort = (table, at) => {
    const { column, down } = kept.sort[at] || {};
    [...table.tHead.rows[0].cells].forEach((cell, k) => {
      cell.setAttribute("aria-sort", k === column ? (down ? "descending" : "ascending") : "none");
    });
    if (column === undefined) return;
    for (const body of table.tBodies) {
      const rows = [...body.rows].map((row) => ({ row, by: value(row, column) }));
      rows.sort((a, b) => {
        const found = order(a.by, b.by);
        // A row without a value is last in both directions.
        return found === null ? Number(a.by === null) - Number(b.by === null) : down ? -found : found;
      });
      body.append(...rows.map((one) => one.row));
    }
  };
  tables.forEach((table, at) => {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = cell.firstElementChild;
      button.id = `sort-${at}-${column}`;
      button.addEventListener("click", () => {
        const last = kept.sort[at];
        kept.sort[at] = { column, down: Boolean(last && last.column === column && !last.down) };
        keep();
        sort(table, at);
      });
    });
    sort(table, at);
  });

  const choose = () => {
    const wanted = kept.filter.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("tbody tr")) {
      const text = `${row.title} ${[...row.cells].map((cell) => cell.textContent).join(" ")}`.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    }
  };

  document.querySelector(".controls").hidden = false;
  filter.value = kept.filter;
  filter.addEventListener("input", () => { kept.filter = filter.value; keep(); choose(); });
  pause.addEventListener("click", () => { kept.paused = !kept.paused; keep(); showPause(); });
  pause.hidden = every === 0;
  choose();
  showPause();
  showAge();
  if (kept.scroll) { scrollTo(0, kept.scroll); kept.scroll = 0; }
  const focused = kept.focus && byId(kept.focus);
  if (focused) focused.focus({ preventScroll: true });
  if (focused === filter) filter.setSelectionRange(filter.value.length, filter.value.length);

  // A reload that has not come after half a minute, from a file system that was away, is tried again.
  const AGAIN = 30000;
  let due = Date.now() + every;
  setInterval(() => {
    showAge();
    if (every > 0 && Date.now() >= due && reload()) due = Date.now() + AGAIN;
  }, 500);
})();
