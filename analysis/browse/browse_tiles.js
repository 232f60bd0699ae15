"use strict";
// The list: one tile an image, or one tile a box. A tile is drawn when it comes near the window.
(() => {
  const { state, make, images, runs, shownImages, shownBoxes, orders, overlay, crop, keyOf, className, lookOf, teacherText, facts, two } = Browse;
  const list = document.querySelector("#tiles");
  const more = document.querySelector("#more");
  const AT_ONCE = 240;
  let entries = [];
  let limit = AT_ONCE;

  const draw = (tile) => {
    const entry = entries[tile.dataset.at];
    const frame = tile.querySelector(".picture");
    if (!entry || !frame || frame.childElementCount) return;
    if (entry.item) { frame.append(crop(entry.item, 132)); return; }
    const { image } = entry;
    if (image.source && !state.off.has("picture")) frame.append(make("img", { src: image.source, alt: "", decoding: "async" }));
    if (image.note) frame.append(make("span", { className: "no-picture", textContent: `No picture: ${image.note}` }));
    frame.append(overlay(image, state.run));
  };
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) draw(target);
      else target.querySelector(".picture")?.replaceChildren(); // pictures out of sight hold no memory
    }
  }, { rootMargin: "600px" });
  // Paper has no window: every tile of the list is drawn for it.
  addEventListener("beforeprint", () => { near.disconnect(); list.querySelectorAll(".tile").forEach(draw); });
  addEventListener("afterprint", () => list.querySelectorAll(".tile").forEach((tile) => near.observe(tile)));

  const badge = (kind, text) => make("span", { className: `badge k-${kind}` }, make("i"), text);
  const imageTile = ({ image, m, value }, order) => {
    const mine = m[state.run];
    const counts = {};
    mine.items.forEach((item) => { counts[item.kind] = (counts[item.kind] ?? 0) + 1; });
    const kinds = [...facts.types, "correct"].filter((kind) => counts[kind]);
    const texts = kinds.map((kind) => `${counts[kind]} ${kind}`);
    const headline = order.text(value, m);
    const button = make("button", { type: "button", className: "tile" },
      make("span", { className: "picture" }),
      make("span", { className: "caption" }, make("b", { textContent: image.name, title: image.name }), make("span", { className: "count", textContent: headline })),
      make("span", { className: "badges" }, ...kinds.map((kind) => badge(kind, `${kind} ${counts[kind]}`))));
    button.setAttribute("aria-label", [image.name, headline, ...texts, image.note && "no picture"].filter(Boolean).join(", "));
    button.dataset.image = String(image.id);
    return button;
  };
  const boxTile = (item) => {
    const { image } = item;
    const isDetection = item.of === "detection";
    const title = isDetection ? className(item.cls) : className(item.object.cls);
    const of = isDetection && item.object && item.object.cls !== item.cls ? ` on ${className(item.object.cls)}` : "";
    const said = isDetection ? item.teacher : item.object.teacher;
    const button = make("button", { type: "button", className: "tile box-tile" },
      make("span", { className: "picture" }),
      make("span", { className: "caption" }, badge(lookOf(item), item.kind), make("span", { className: "count", textContent: isDetection ? item.score.toFixed(2) : "" })),
      make("span", { className: "classes", textContent: title + of }));
    if (said) {
      const isRight = Browse.teacherRight(item) === true;
      button.append(make("span", { className: `teacher${isRight ? " agrees" : ""}`, textContent: `teacher: ${teacherText(said.slice(0, 1))}${isRight ? " \u2713" : ""}` }));
    }
    button.setAttribute("aria-label", `${Browse.shortText(item)}, in ${image.name}`);
    button.dataset.image = String(image.id);
    button.dataset.box = keyOf(item);
    return button;
  };

  const render = () => {
    const isBoxes = state.view === "boxes";
    const order = orders.find((one) => one.key === state.sort);
    entries = isBoxes ? shownBoxes().map((item) => ({ item, image: item.image })) : shownImages();
    near.disconnect();
    list.classList.toggle("boxes", isBoxes);
    const shown = entries.slice(0, limit);
    const tiles = shown.map((entry, at) => {
      const tile = isBoxes ? boxTile(entry.item) : imageTile(entry, order);
      tile.dataset.at = at;
      tile.tabIndex = at === 0 ? 0 : -1;
      return tile;
    });
    list.replaceChildren(...tiles.map((tile) => make("li", {}, tile)));
    tiles.forEach((tile) => near.observe(tile));
    more.hidden = entries.length <= limit;
    more.textContent = `Show more (${(entries.length - limit).toLocaleString("en")} left)`;
    document.querySelector("#nothing").hidden = entries.length > 0;
    const items = isBoxes ? entries.map((entry) => entry.item) : entries.flatMap((entry) => entry.m[state.run].items);
    const errors = items.filter((item) => Browse.isError(item.kind)).length;
    const run = two ? ` of run ${Browse.letter(state.run)}` : "";
    const number = (value) => value.toLocaleString("en");
    const what = isBoxes ? `${number(items.length)} boxes in ${number(new Set(entries.map((entry) => entry.image)).size)} images`
      : `${number(entries.length)} of ${number(images.length)} images, ${number(errors)} errors${run}`;
    document.querySelector("#shown").textContent = `${what}${isBoxes ? run : ""}`;
  };
  const restart = () => { limit = AT_ONCE; render(); };
  more.addEventListener("click", () => {
    const first = limit;
    limit += AT_ONCE;
    render();
    list.children[first]?.firstElementChild.focus();
  });

  // ---- keys in the list ----
  const tileAt = (n) => list.children[n]?.firstElementChild;
  const columns = () => {
    const tiles = [...list.children];
    const top = tiles[0]?.offsetTop;
    const n = tiles.findIndex((one) => one.offsetTop !== top);
    return n < 0 ? tiles.length : n;
  };
  const moveTo = (n) => {
    const tile = tileAt(Math.min(Math.max(n, 0), list.children.length - 1));
    if (!tile) return;
    list.querySelectorAll('[tabindex="0"]').forEach((one) => { one.tabIndex = -1; });
    tile.tabIndex = 0;
    tile.focus();
    tile.scrollIntoView({ block: "nearest" });
  };
  const step = (key) => {
    const here = document.activeElement?.classList.contains("tile") ? Number(document.activeElement.dataset.at) : -1;
    const by = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[key];
    if (key === "Home") moveTo(0);
    else if (key === "End") moveTo(list.children.length - 1);
    else if (by === undefined) return false;
    else if (here < 0 && (key === "j" || key === "k")) moveTo(0);
    else if (here < 0) return false;
    else moveTo(here + by);
    return true;
  };
  list.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) Browse.open(entries[tile.dataset.at].image, tile.dataset.box ?? "");
  });
  // The images in the order of the list, for the detail; of boxes, the images that have one.
  const imageOrder = () => [...new Set(entries.map((entry) => entry.image))];
  const focusImage = (image) => {
    const n = entries.findIndex((entry) => entry.image === image);
    if (n >= 0) moveTo(n);
  };

  Object.assign(Browse, { render, restart, step, imageOrder, focusImage, badge, runs });
})();
