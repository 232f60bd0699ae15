"use strict";
// The filters as form fields, the keys, and the start.
(() => {
  const { state, initial, make, facts, runs, orders, two, render, restart, badge } = Browse;
  const fields = document.querySelector("#fields");
  const byId = (id) => document.getElementById(id);

  const changed = () => {
    Browse.writeAddress();
    showState();
    restart();
  };
  let waiting = false;
  const changedSoon = () => { // a slider gives many events; the list is drawn once a frame
    Browse.writeAddress();
    showState();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; restart(); });
  };
  const field = (label, control, extra = []) => {
    const element = make("div", { className: "field" }, make("label", { textContent: label, htmlFor: control.id }), control, ...extra);
    return element;
  };
  const choice = (id, options, key) => {
    const element = make("select", { id }, ...options.map(([value, text]) => make("option", { value, textContent: text })));
    element.addEventListener("change", () => { state[key] = element.value; changed(); });
    return element;
  };
  const group = (label, buttons) => {
    const element = make("div", { className: "field" }, make("span", { className: "name", textContent: label }), make("div", { className: "chips" }, ...buttons));
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", label);
    return element;
  };
  const chip = (id, content, act) => {
    const element = make("button", { type: "button", className: "chip", id }, ...content);
    element.addEventListener("click", act);
    return element;
  };

  // ---- fields ----
  const views = [["images", "Images"], ["boxes", "Boxes"]].map(([value, text]) =>
    chip(`view-${value}`, [text], () => { state.view = value; changed(); }));
  const runChips = runs.map((run, k) => chip(`run-${Browse.letter(k)}`, [make("b", { className: "letter", textContent: Browse.letter(k) }), ` ${run.name}`], () => { state.run = k; changed(); }));
  const sort = choice("sort", orders.map((order) => [order.key, order.label]), "sort");
  const types = [...facts.types, "correct"].map((type) => chip(`type-${type}`, [badge(type, type), make("span", { className: "count", id: `count-${type}` })], () => {
    if (!state.types.delete(type)) state.types.add(type);
    changed();
  }));
  const cls = choice("class", [["", "all classes"], ...facts.classes.map((name) => [name, name])], "cls");
  const size = choice("size", [["", "all sizes"], ["small", "small, up to 32\u00b2 px"], ["medium", "medium, up to 96\u00b2 px"], ["large", "large"]], "size");
  const confusion = choice("confusion", [["", "all"]], "confusion");
  const showConfusions = () => {
    const found = Browse.confusions();
    confusion.replaceChildren(make("option", { value: "", textContent: found.length ? "all" : "none at these filters" }), ...found.map(([cls, object, n]) =>
      make("option", { value: `${cls}-${object}`, textContent: `${Browse.className(cls)} for ${Browse.className(object)}: ${n}` })));
    confusion.value = state.confusion;
  };
  const change = choice("change", [["", "all boxes"], ["A", "found by A alone"], ["B", "found by B alone"]], "change");
  const teacher = choice("teacher", [["", "all boxes"], ["right", "teacher right, student wrong"], ["wrong", "teacher wrong as well"]], "teacher");
  const text = make("input", { id: "text", type: "search", placeholder: "part of a name", autocomplete: "off", spellcheck: false });
  text.addEventListener("input", () => { state.text = text.value; changedSoon(); });
  const sliders = runs.map((run, k) => {
    const element = make("input", { id: `score-${Browse.letter(k)}`, type: "range", min: facts.minScore, max: 1, step: 0.01 });
    element.addEventListener("input", () => { state.scores[k] = Number(element.value); changedSoon(); });
    const value = make("output", { id: `score-value-${Browse.letter(k)}` });
    value.htmlFor = element.id;
    const best = make("button", { type: "button", className: "quiet", id: `best-${Browse.letter(k)}`, textContent: `best F1: ${run.score.toFixed(2)}` });
    best.addEventListener("click", () => { state.scores[k] = run.score; changed(); });
    return field(two ? `Score of ${Browse.letter(k)} at least` : "Score at least", element, [value, best]);
  });
  const reset = make("button", { type: "button", className: "control", id: "reset", textContent: "Reset filters" });
  const resetAll = () => {
    Object.assign(state, initial(), { view: state.view, run: state.run, image: state.image });
    changed();
  };
  reset.addEventListener("click", resetAll);
  byId("reset-here").addEventListener("click", resetAll);
  fields.append(group("Show", views), ...(two ? [group("Boxes of run", runChips)] : []), field("Sort by", sort), group("Type", types),
    field("Class", cls), field("Size", size), field("Confusion", confusion), ...(two ? [field("Objects", change)] : []), ...(facts.teacher ? [field("Teacher", teacher)] : []), ...sliders, field("File name", text), reset);

  const showState = () => {
    const press = (element, on) => element.setAttribute("aria-pressed", String(on));
    views.forEach((one) => press(one, one.id === `view-${state.view}`));
    runChips.forEach((one, k) => press(one, state.run === k));
    const counts = Browse.typeCounts();
    types.forEach((one) => {
      const type = one.id.slice(5);
      press(one, state.types.has(type));
      byId(`count-${type}`).textContent = counts[type].toLocaleString("en");
    });
    Object.entries({ sort: state.sort, class: state.cls, size: state.size, change: state.change, teacher: state.teacher, text: state.text }).forEach(([id, value]) => {
      const element = byId(id);
      if (element && element.value !== value) element.value = value;
    });
    showConfusions();
    byId("sort").disabled = state.view === "boxes";
    runs.forEach((_, k) => {
      byId(`score-${Browse.letter(k)}`).value = state.scores[k];
      byId(`score-value-${Browse.letter(k)}`).textContent = state.scores[k].toFixed(2);
    });
    const active = [state.cls, state.size, state.confusion, state.change, state.teacher, state.text, state.types.size, state.scores.some((score, k) => score !== runs[k].score)].filter(Boolean).length;
    byId("filter-count").textContent = active ? `${active} active` : "";
    reset.disabled = !active;
  };

  // ---- help, link ----
  const KEYS = [
    ["j, k or arrows", "next, previous tile"], ["Enter", "open the image"], ["Esc", "close"], ...(two ? [["1, 2", "run A, run B"], ["b", "A and B side by side (open image)"]] : []),
    ["j, k or \u2190 \u2192", "previous, next image (open image)"], ["\u2191 \u2193 or n, N", "next, previous box (open image)"],
    ["g e c l p", "ground truth, errors, correct, labels, picture (open image)"], ["z", "twice the size (open image)"], ["i, x", "show images, show boxes"], ["/", "file name"], ["?", "these keys"],
  ];
  const help = byId("keys");
  const closeHelp = make("button", { type: "button", className: "control", textContent: "Close" });
  closeHelp.addEventListener("click", () => help.close());
  help.append(make("div", { className: "bar" }, make("h2", { id: "keys-title", textContent: "Keys" }), make("span", { className: "bar-end" }, closeHelp)),
    make("dl", { className: "facts" }, ...KEYS.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: what })))),
    make("h3", { textContent: "Boxes" }),
    make("ul", { className: "legend" }, ...["found", "lost", "Miss", "crowd", "correct", "Cls", "Loc", "Both", "Dupe", "Bkg"].map((kind) => {
      const svg = Browse.drawn("svg", { viewBox: "0 0 34 22", width: 34, height: 22, class: "overlay", "aria-hidden": "true" });
      const g = Browse.drawn("g", { class: `box k-${kind}` });
      const at = { x: 3, y: 3, width: 28, height: 16 };
      g.append(Browse.drawn("rect", { ...at, class: "halo" }), Browse.drawn("rect", { ...at, class: "line" }));
      svg.append(g);
      const words = { found: "object that is found", lost: "object that a Cls or Loc error belongs to", Miss: "Miss: object without a detection", crowd: "crowd region, or a detection in it" };
      return make("li", {}, svg, words[kind] ?? `${kind === "correct" ? "" : `${kind}: `}detection, ${Browse.NAMES[kind]}`);
    })));
  const showHelp = () => { if (!help.open) help.showModal(); };
  byId("help").addEventListener("click", showHelp);
  const copy = byId("copy-link");
  copy.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); copy.textContent = "Copied"; } catch { copy.textContent = "Copy it from the address bar"; }
    setTimeout(() => { copy.textContent = "Copy link"; }, 2500);
  });

  // ---- keys ----
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inText = event.target.matches("input[type=search]");
    if (inText && event.key === "Escape") { event.target.blur(); return; }
    if (inText || (event.target.matches("select, input[type=range]") && event.key.length > 1)) return;
    if (help.open) return;
    const { key } = event;
    let done = true;
    if (key === "?") showHelp();
    else if (byId("detail").open) done = Browse.detailKey(key);
    else if (key === "/") { byId("filters").open = true; text.focus(); }
    else if (two && (key === "1" || key === "2")) { state.run = Number(key) - 1; changed(); }
    else if (key === "i" || key === "x") { state.view = key === "i" ? "images" : "boxes"; changed(); }
    else done = Browse.step(key);
    if (done) event.preventDefault();
  });
  // A link inside the page would overwrite the state in the address.
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("content").focus(); });

  addEventListener("hashchange", () => { Browse.readAddress(); showState(); restart(); Browse.openFromAddress(); });
  ["#help", "#copy-link"].forEach((id) => { document.querySelector(id).hidden = false; });
  if (matchMedia("(max-width: 60rem)").matches) byId("filters").open = false;
  Browse.readAddress();
  showState();
  render();
  Browse.openFromAddress();
  document.documentElement.dataset.ready = "yes";
})();
