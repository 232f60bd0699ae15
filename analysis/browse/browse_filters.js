"use strict";
// What is shown: the state (kept in the address, so that a view can be sent), the filters, the orders.
(() => {
  const { facts, images, runs, isError, objectVerdicts, className } = Browse;
  const two = runs.length === 2;
  const LAYERS = ["objects", "errors", "correct", "labels", "picture"];

  const initial = () => ({
    view: "images", sort: two ? "worse" : "error", run: two ? 1 : 0, both: false, cls: "", size: "", types: new Set(), confusion: "", change: "", teacher: "",
    text: "", scores: runs.map((run) => run.score), image: "", box: "", off: new Set(),
  });
  const state = initial();

  // ---- the address: only what differs from a fresh page ----
  const inRange = (text, otherwise) => {
    const value = Number(text);
    return text !== null && text !== "" && value >= facts.minScore && value <= 1 ? value : otherwise;
  };
  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    const fresh = initial();
    const choose = (key, allowed, otherwise) => (allowed.includes(given.get(key)) ? given.get(key) : otherwise);
    const list = (key, allowed) => new Set((given.get(key) ?? "").split(",").filter((name) => allowed.includes(name)));
    Object.assign(state, fresh, {
      view: choose("view", ["images", "boxes"], fresh.view),
      sort: choose("sort", orders.map((order) => order.key), fresh.sort),
      run: two ? { A: 0, B: 1 }[given.get("run")] ?? fresh.run : 0,
      both: two && given.get("both") === "1",
      cls: facts.classes.includes(given.get("class")) ? given.get("class") : "",
      size: choose("size", facts.sizes, ""),
      types: list("type", [...facts.types, "correct"]),
      confusion: /^\d+-\d+$/.test(given.get("confusion") ?? "") ? given.get("confusion") : "",
      change: two ? choose("change", ["A", "B"], "") : "",
      teacher: facts.teacher ? choose("teacher", ["right", "wrong"], "") : "",
      text: given.get("text") ?? "",
      scores: runs.map((run, k) => inRange(given.get("score" + Browse.letter(k)), run.score)),
      image: given.get("image") ?? "",
      box: given.get("box") ?? "",
      off: list("off", LAYERS),
    });
  };
  const writeAddress = () => {
    const fresh = initial();
    const parts = new URLSearchParams();
    const put = (key, value, otherwise = "") => { if (String(value) !== String(otherwise)) parts.set(key, value); };
    put("view", state.view, fresh.view);
    put("sort", state.sort, fresh.sort);
    put("run", Browse.letter(state.run), Browse.letter(fresh.run));
    put("both", state.both ? 1 : "");
    put("class", state.cls);
    put("size", state.size);
    put("type", [...state.types].join(","));
    put("confusion", state.confusion);
    put("change", state.change);
    put("teacher", state.teacher);
    put("text", state.text);
    state.scores.forEach((score, k) => put("score" + Browse.letter(k), score, fresh.scores[k]));
    put("image", state.image);
    put("box", state.box);
    put("off", [...state.off].join(","));
    history.replaceState(null, "", `#${parts}`);
  };

  // ---- verdicts of objects at the present scores, each image computed once ----
  const kept = new Map();
  const verdicts = (image, run) => {
    const key = image.place * 2 + run;
    const before = kept.get(key);
    if (before && before.score === state.scores[run]) return before.list;
    const list = objectVerdicts(image, run, state.scores[run]);
    kept.set(key, { score: state.scores[run], list });
    return list;
  };
  const isLost = (verdict) => verdict.kind !== "found" && verdict.kind !== "crowd";

  // ---- one box: does it pass the filters? ----
  const teacherRight = (item) => {
    const object = item.object;
    const said = item.of === "detection" ? item.teacher : object.teacher;
    return said && object ? said[0].cls === object.cls : null;
  };
  const wrongClass = (item) => item.kind === "Cls" && item.of === "detection" || item.kind === "Miss";
  // Class of the detection - class of the object, by their places in the list; "" where the classes do not differ.
  const confusionOf = (item) => (item.of === "detection" && item.object && item.object.cls !== item.cls ? `${item.cls}-${item.object.cls}` : "");
  const foundOnlyBy = (object) => {
    const [a, b] = [0, 1].map((run) => verdicts(object.image, run)[object.n].kind === "found");
    return a === b ? "" : a ? "A" : "B";
  };
  const passes = (item, { types = state.types, confusion = state.confusion } = {}) => {
    const object = item.object;
    const cls = item.of === "detection" ? item.cls : object.cls;
    if (state.cls && className(cls) !== state.cls && !(object && className(object.cls) === state.cls)) return false;
    if (state.size && (item.of === "detection" ? item.size : object.size) !== state.size) return false;
    if (types.size && !types.has(item.kind)) return false;
    if (confusion && confusionOf(item) !== confusion) return false;
    if (state.change && !(object && foundOnlyBy(object) === state.change)) return false;
    if (state.teacher) {
      if (!wrongClass(item)) return false;
      const right = teacherRight(item);
      if (right === null || right !== (state.teacher === "right")) return false;
    }
    return true;
  };
  const hasName = (image) => image.name.toLowerCase().includes(state.text.toLowerCase());
  // Items: detections that count at the score, and objects that are not found. An object of a Cls or Loc error is shown
  // by that error, so it is no item of its own; it counts as an object that is not found.
  const detectionsOf = (image, run) => {
    const list = image.detections[run];
    let n = 0;
    while (n < list.length && list[n].score >= state.scores[run]) n += 1;
    return list.slice(0, n).filter((one) => one.kind !== "ignored");
  };
  const itemsOf = (image, run, options) => [
    ...verdicts(image, run).filter((one) => one.kind === "Miss").map((one) => ({ ...one, of: "verdict", image })),
    ...detectionsOf(image, run),
  ].filter((item) => passes(item, options));
  const lostOf = (image, run) => verdicts(image, run).filter((one) => isLost(one) && passes({ ...one, of: "verdict" }));

  // ---- how wrong an image is: as in image_errors.py, of the boxes that pass the filters ----
  const measure = (image, run) => {
    const items = itemsOf(image, run);
    const wrong = items.filter((item) => item.of === "detection" && isError(item.kind));
    const lost = state.teacher ? items.filter((item) => item.of === "verdict") : lostOf(image, run);
    const scores = wrong.map((one) => one.score);
    return {
      items, wrong: wrong.length, lost: lost.length, errors: items.filter((item) => isError(item.kind)).length,
      error: scores.reduce((sum, score) => sum + score, 0) + lost.length, confident: Math.max(0, ...scores),
    };
  };
  const flipped = (image) => {
    const [a, b] = [verdicts(image, 0), verdicts(image, 1)];
    return a.filter((one, n) => one.kind !== "crowd" && (one.kind === "found") !== (b[n].kind === "found")
      && (passesObject(one) || passesObject(b[n]))).length;
  };
  const passesObject = (verdict) => passes({ ...verdict, of: "verdict" }, { types: new Set() });

  const orders = [
    ...(two ? [
      { key: "worse", label: "B worse than A", of: (m) => m[1].error - m[0].error, text: (v) => `B ${signed(v)}` },
      { key: "better", label: "B better than A", of: (m) => m[0].error - m[1].error, text: (v) => `B ${signed(-v)}` },
      { key: "flips", label: "objects that changed", of: (m, image) => flipped(image), text: (v) => `${v} changed` },
    ] : []),
    { key: "error", label: "error", of: (m) => m[state.run].error, text: (v) => `error ${v.toFixed(2)}` },
    { key: "confident", label: "most confident mistake", of: (m) => m[state.run].confident, text: (v) => `mistake ${v.toFixed(2)}` },
    { key: "false", label: "false positives", of: (m) => m[state.run].wrong, text: (v) => `${v} false` },
    { key: "lost", label: "objects not found", of: (m) => m[state.run].lost, text: (v) => `${v} not found` },
    { key: "objects", label: "objects in the image", of: (m, image) => image.objects.length, text: (v) => `${v} objects` },
    { key: "name", label: "file name", of: null, text: () => "" },
  ];
  const signed = (value) => (value > 0 ? "+" : value < 0 ? "\u2212" : "\u00b1") + Math.abs(value).toFixed(2);
  const collator = new Intl.Collator("en", { numeric: true });
  const filtersBoxes = () => state.cls || state.size || state.types.size || state.teacher || state.confusion || state.change;

  // Images that pass, in order: {image, m: measures of each run, value}
  const shownImages = () => {
    const order = orders.find((one) => one.key === state.sort);
    const found = [];
    for (const image of images) {
      if (!hasName(image)) continue;
      const m = runs.map((_, run) => measure(image, run));
      const inView = order.key === "worse" || order.key === "better" || order.key === "flips" ? m : [m[state.run]];
      if (filtersBoxes() && !inView.some((one) => one.items.length || one.lost)) continue;
      found.push({ image, m, value: order.of ? order.of(m, image) : 0 });
    }
    const byName = (a, b) => collator.compare(a.image.name, b.image.name);
    return found.sort(order.of ? (a, b) => b.value - a.value || a.image.place - b.image.place : byName);
  };
  // Single boxes of the present run: errors, and with a type the boxes of that type, by falling score; missed ones last.
  const shownBoxes = () => images.filter(hasName).flatMap((image) => itemsOf(image, state.run))
    .filter((item) => isError(item.kind) || state.types.has("correct") || state.change)
    .sort((a, b) => (b.score ?? -1) - (a.score ?? -1) || a.image.place - b.image.place);
  // {type: number of boxes} under all filters but that of the types.
  const typeCounts = () => {
    const counts = Object.fromEntries([...facts.types, "correct"].map((type) => [type, 0]));
    for (const image of images) {
      if (!hasName(image)) continue;
      for (const item of itemsOf(image, state.run, { types: new Set() })) counts[item.kind] += 1;
    }
    return counts;
  };

  // The most frequent confusions of the present run: [[class of the detection, class of the object, number], ...]
  const confusions = () => {
    const counts = new Map();
    for (const image of images) {
      if (!hasName(image)) continue;
      for (const item of itemsOf(image, state.run, { confusion: "" })) {
        const key = isError(item.kind) ? confusionOf(item) : "";
        if (key) counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    if (state.confusion && !counts.has(state.confusion)) counts.set(state.confusion, 0);
    return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 40).map(([key, n]) => [...key.split("-").map(Number), n]);
  };

  Object.assign(Browse, {
    state, initial, readAddress, writeAddress, verdicts, passes, detectionsOf, shownImages, shownBoxes, typeCounts, orders, two,
    LAYERS, teacherRight, filtersBoxes, isLost, confusions,
  });
})();
