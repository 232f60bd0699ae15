"use strict";
// One image, large: its boxes as overlay and as a table, run A, run B or both side by side, and the box that is chosen.
(() => {
  const { state, make, images, runs, facts, overlay, labels, placeLabels, boxesOn, keyOf, boxOf, describe, shortText, crop, className, percent, two, badge, lookOf } = Browse;
  const dialog = document.querySelector("#detail");
  const tip = document.querySelector("#tip");
  const body = make("div", { className: "detail" });
  dialog.append(body);
  let image = null;
  let order = [];
  let isLarge = false; // twice the size, to be scrolled

  const button = (text, id, act, properties = {}) => {
    const element = make("button", { type: "button", className: "control", id, textContent: text, ...properties });
    element.addEventListener("click", act);
    return element;
  };
  const toggle = (text, id, isOn, act, title) => {
    const element = button(text, id, act, { title });
    element.setAttribute("aria-pressed", String(isOn));
    return element;
  };

  const picture = (run) => {
    const frame = make("div", { className: "picture large", id: `picture-${Browse.letter(run)}` });
    frame.style.aspectRatio = `${image.w} / ${image.h}`;
    frame.style.setProperty("--ratio", image.w / image.h);
    if (image.source && !state.off.has("picture")) frame.append(make("img", { src: image.source, alt: `${image.name}` }));
    if (image.note) frame.append(make("span", { className: "no-picture", textContent: `No picture: ${image.note}; the boxes are drawn without it` }));
    frame.append(overlay(image, run), labels(image, run));
    const name = two ? `run ${Browse.letter(run)}` : "";
    const figure = make("figure", {}, frame);
    if (two) figure.prepend(make("figcaption", {}, make("b", { className: "letter", textContent: Browse.letter(run) }), ` ${runs[run].name}`));
    figure.setAttribute("aria-label", `${image.name} ${name}`);
    return figure;
  };

  // ---- the table of boxes: what went wrong first ----
  const rank = (item) => (item.kind === "Miss" ? 0 : Browse.isError(item.kind) ? 1 : item.kind === "correct" ? 2 : 3);
  const listed = (run) => boxesOn(image, run).filter((item) => item.kind !== "found" && lookOf(item) !== "lost" && item.kind !== "crowd")
    .sort((a, b) => rank(a) - rank(b) || (b.score ?? 0) - (a.score ?? 0));
  const cell = (text, numeric) => make("td", { className: numeric ? "num" : "", textContent: text });
  const table = (run) => {
    const withTeacher = Boolean(facts.teacher);
    const head = ["verdict", "class", "score", "IoU", "object", ...(withTeacher ? ["teacher"] : [])];
    const rows = listed(run).map((item) => {
      const found = item.of === "detection";
      const said = found ? item.teacher : item.object.teacher;
      const choose = make("button", { type: "button", className: "choose" }, badge(lookOf(item), item.kind));
      choose.setAttribute("aria-label", shortText(item));
      const row = make("tr", { className: Browse.isDim(item) ? "dim" : "" }, make("th", { scope: "row" }, choose),
        cell(className(found ? item.cls : item.object.cls)), cell(found ? item.score.toFixed(2) : "", true),
        cell(found && item.iou > 0 ? item.iou.toFixed(2) : "", true), cell(found && item.object ? className(item.object.cls) : ""),
        ...(withTeacher ? [cell(said ? className(said[0].cls) : "")] : []));
      row.dataset.key = keyOf(item);
      row.dataset.run = run;
      return row;
    });
    const element = make("table", { className: "data boxes" },
      make("caption", { className: "vh", textContent: `Boxes${two ? ` of run ${Browse.letter(run)}` : ""}` }),
      make("thead", {}, make("tr", {}, ...head.map((text, k) => make("th", { scope: "col", textContent: text, className: k === 2 || k === 3 ? "num" : "" })))),
      make("tbody", {}, ...rows));
    return rows.length ? element : make("p", { className: "empty", textContent: "No box at this score." });
  };

  // ---- the chosen box ----
  const itemOf = (key, run) => boxesOn(image, run).find((item) => keyOf(item) === key);
  const chosen = () => (state.box ? itemOf(state.box, "AB".includes(state.box[0]) ? "AB".indexOf(state.box[0]) : state.run) : null);
  const panel = () => {
    const item = chosen();
    const place = make("section", { className: "chosen", id: "chosen" });
    place.setAttribute("aria-label", "The chosen box");
    if (!item) {
      place.append(make("p", { className: "hint", textContent: "Choose a box in the picture or in the table." }));
      return place;
    }
    const lines = make("dl", { className: "facts" }, ...describe(item).filter(([term]) => term !== "teacher")
      .map(([term, text]) => make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text }))));
    place.append(crop(item, 150), lines);
    const said = item.of === "detection" ? item.teacher : item.object.teacher;
    if (said) {
      const truth = item.object?.cls;
      place.append(make("div", { className: "said" }, make("h3", { textContent: "The teacher about this crop" }), make("ul", {}, ...said.map((one) => {
        const bar = make("i", { className: "share" });
        bar.style.width = `${100 * one.share}%`;
        return make("li", { className: one.cls === truth ? "truth" : "" }, make("span", { textContent: className(one.cls) }), make("span", { className: "track" }, bar), make("span", { className: "num", textContent: percent(one.share) }));
      }))));
    } else if (facts.teacher && item.kind !== "crowd") place.append(make("p", { className: "hint", textContent: "The teacher has no verdict: the box is too small." }));
    return place;
  };
  const mark = () => {
    const key = state.box;
    body.querySelectorAll("[data-key]").forEach((element) => {
      const isRow = element.tagName === "TR";
      const on = key !== "" && element.dataset.key === key;
      element.classList.toggle("on", on);
      if (isRow) element.setAttribute("aria-selected", String(on));
    });
    body.querySelectorAll(".overlay").forEach((svg) => { const on = svg.querySelector(".on"); if (on) svg.append(on); });
  };
  const chooseBox = (key) => {
    state.box = state.box === key ? "" : key;
    Browse.writeAddress();
    body.querySelector("#chosen").replaceWith(panel());
    mark();
  };

  // ---- the dialog ----
  const layer = (name, text, key) => toggle(text, `layer-${name}`, !state.off.has(name), () => switchLayer(name), `switch with ${key}`);
  const renderDetail = () => {
    const at = order.indexOf(image);
    const focus = dialog.contains(document.activeElement) ? document.activeElement.id : "";
    const shownRuns = two && state.both ? [0, 1] : [state.run];
    const runButtons = two ? [
      ...runs.map((_, run) => toggle(`${Browse.letter(run)}`, `show-${Browse.letter(run)}`, !state.both && state.run === run, () => showRun(run), `run ${runs[run].name}: key ${run + 1}`)),
      toggle("A | B", "show-both", state.both, () => showBoth(), "side by side: key b"),
    ] : [];
    body.replaceChildren(
      make("div", { className: "bar" },
        make("h2", { id: "detail-title", textContent: image.name, tabIndex: -1 }),
        make("span", { className: "count", textContent: at < 0 ? "" : `${at + 1} of ${order.length}` }),
        make("span", { className: "bar-end" },
          button("\u2039", "previous", () => go(-1), { title: "previous: k", ariaLabel: "Previous image", disabled: at <= 0 }),
          button("\u203a", "next", () => go(1), { title: "next: j", ariaLabel: "Next image", disabled: at >= order.length - 1 }),
          button("Close", "close-detail", () => dialog.close(), { title: "Esc" }))),
      make("div", { className: "layers" },
        make("span", { className: "group" }, ...runButtons),
        make("span", { className: "group" }, layer("objects", "Ground truth", "g"), layer("errors", "Errors", "e"), layer("correct", "Correct", "c"), layer("labels", "Labels", "l"), layer("picture", "Picture", "p")),
        toggle("2\u00d7", "zoom", isLarge, zoom, "twice the size: key z")),
      make("div", { className: `pictures${shownRuns.length > 1 ? " side-by-side" : ""}${isLarge ? " zoomed" : ""}` }, ...shownRuns.map(picture)),
      make("div", { className: "beside" }, panel(), ...shownRuns.flatMap((run) => [...(shownRuns.length > 1 ? [make("h3", { textContent: `Run ${Browse.letter(run)}` })] : []), make("div", { className: "rows" }, table(run))])));
    mark();
    if (dialog.open) body.querySelectorAll(".picture.large").forEach(placeLabels);
    // Everything was built anew: the focus stays on the same control, else on the title, whose change is read aloud.
    const again = focus && document.getElementById(focus);
    if (dialog.open) (again && !again.disabled ? again : document.getElementById("detail-title")).focus({ preventScroll: true });
  };
  const redraw = () => { Browse.writeAddress(); renderDetail(); };
  const switchLayer = (name) => {
    if (!state.off.delete(name)) state.off.add(name);
    redraw();
  };
  const showRun = (run) => {
    if (!two) return;
    Object.assign(state, { run, both: false });
    if ("AB".includes(state.box[0] ?? "-") && state.box[0] !== Browse.letter(run)) state.box = "";
    redraw();
  };
  const zoom = () => { isLarge = !isLarge; redraw(); };
  const showBoth = () => { if (two) { state.both = !state.both; redraw(); } };
  const go = (by) => {
    const next = order[order.indexOf(image) + by];
    if (!next) return;
    image = next;
    Object.assign(state, { image: String(image.id), box: "" });
    hideTip();
    redraw();
  };
  const open = (wanted, box = "") => {
    image = wanted;
    order = Browse.imageOrder();
    Object.assign(state, { image: String(image.id), box });
    Browse.writeAddress();
    if (!dialog.open) dialog.showModal(); // labels are placed where they can be measured
    renderDetail();
    dialog.scrollTop = 0;
    document.getElementById("detail-title").focus({ preventScroll: true });
  };
  dialog.addEventListener("close", () => {
    const before = image;
    image = null;
    hideTip();
    Object.assign(state, { image: "", box: "" });
    Browse.writeAddress();
    Browse.render();
    if (before) Browse.focusImage(before);
  });
  // Boxes one after another, in the order of the table.
  const stepBox = (by) => {
    const keys = listed(state.run).map(keyOf);
    if (!keys.length) return;
    const at = keys.indexOf(state.box);
    chooseBox(keys[(at < 0 ? (by > 0 ? 0 : keys.length - 1) : at + by + keys.length) % keys.length]);
  };

  // ---- pointer: what is under it; a tap chooses it ----
  const hideTip = () => { tip.hidden = true; };
  const target = (event) => event.target.closest?.(".pictures .box, .pictures .label");
  body.addEventListener("pointermove", (event) => {
    const found = event.pointerType === "touch" ? null : target(event);
    if (!found) { hideTip(); return; }
    const run = found.closest(".picture").id.endsWith("B") ? 1 : 0;
    const item = itemOf(found.dataset.key, run);
    if (!item) return;
    tip.replaceChildren(...describe(item).map(([term, text]) => make("div", {}, make("b", { textContent: term }), ` ${text}`)));
    tip.hidden = false;
    dialog.append(tip); // above the dialog, which is in the top layer
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - w - 8))}px`;
    tip.style.top = `${event.clientY + 18 + h > innerHeight ? event.clientY - h - 10 : event.clientY + 18}px`;
  });
  body.addEventListener("pointerleave", hideTip);
  addEventListener("resize", () => { if (dialog.open) body.querySelectorAll(".picture.large").forEach(placeLabels); });
  body.addEventListener("click", (event) => {
    const found = target(event) ?? event.target.closest("tr[data-key]");
    if (found) chooseBox(found.dataset.key);
  });

  const keys = {
    j: () => go(1), ArrowRight: () => go(1), k: () => go(-1), ArrowLeft: () => go(-1),
    ArrowDown: () => stepBox(1), ArrowUp: () => stepBox(-1), n: () => stepBox(1), N: () => stepBox(-1),
    1: () => showRun(0), 2: () => showRun(1), b: showBoth, z: zoom,
    g: () => switchLayer("objects"), e: () => switchLayer("errors"), c: () => switchLayer("correct"), l: () => switchLayer("labels"), p: () => switchLayer("picture"),
  };
  const detailKey = (key) => {
    if (!dialog.open || !keys[key]) return false;
    keys[key]();
    return true;
  };
  const openFromAddress = () => {
    const wanted = images.find((one) => String(one.id) === state.image);
    if (wanted) open(wanted, state.box);
    else if (dialog.open) dialog.close();
  };

  Object.assign(Browse, { open, detailKey, openFromAddress, boxOf });
})();
