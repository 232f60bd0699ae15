"use strict";
// Boxes on a picture (SVG), one box as a crop (canvas), and the words that describe a box.
(() => {
  const { state, verdicts, passes, detectionsOf, className, percent, isLost, filtersBoxes, isError, two } = Browse;
  const SVG = "http://www.w3.org/2000/svg";
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const drawn = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    return element;
  };

  // A box has a key in its image: o3 is an object, A12 a detection of run A.
  const keyOf = (item) => (item.of === "detection" ? Browse.letter(item.run) + item.n : `o${item.object.n}`);
  const boxOf = (item) => (item.of === "detection" ? item.box : item.object.box);
  const NAMES = {
    correct: "correct", Cls: "wrong class", Loc: "wrong location", Both: "wrong class and location", Dupe: "duplicate",
    Bkg: "on background", Miss: "missed", ignored: "ignored (crowd region)", found: "found", crowd: "crowd region",
  };
  // Objects as drawn: one that a Cls or Loc error belongs to is not found, but not missed either.
  const lookOf = (item) => (item.of === "verdict" && (item.kind === "Cls" || item.kind === "Loc") ? "lost" : item.kind);

  // Everything on an image at the present scores and layers, large boxes first, so that small ones are on top.
  const boxesOn = (image, run) => {
    const objects = state.off.has("objects") ? [] : verdicts(image, run).map((one) => ({ ...one, of: "verdict", image }));
    const rest = image.detections[run].filter((one) => one.kind === "ignored" && one.score >= state.scores[run]);
    const found = [...detectionsOf(image, run), ...rest]
      .filter((one) => !state.off.has(one.kind === "correct" || one.kind === "ignored" ? "correct" : "errors"));
    const area = (item) => boxOf(item)[2] * boxOf(item)[3];
    return [...objects, ...found].sort((a, b) => area(b) - area(a));
  };
  const isDim = (item) => filtersBoxes() && !passes(item);

  const overlay = (image, run) => {
    const svg = drawn("svg", { viewBox: `0 0 ${image.w} ${image.h}`, class: "overlay", "aria-hidden": "true" });
    for (const item of boxesOn(image, run)) {
      const [x, y, width, height] = boxOf(item);
      const group = drawn("g", { class: `box k-${lookOf(item)}${isDim(item) ? " dim" : ""}`, "data-key": keyOf(item) });
      group.append(drawn("rect", { x, y, width, height, class: "halo" }), drawn("rect", { x, y, width, height, class: "line" }));
      svg.append(group);
    }
    return svg;
  };

  const labels = (image, run) => {
    const layer = make("div", { className: "labels" });
    layer.setAttribute("aria-hidden", "true");
    if (state.off.has("labels")) return layer;
    for (const item of boxesOn(image, run)) {
      if (item.kind === "found" || item.kind === "ignored" || lookOf(item) === "lost" || isDim(item)) continue;
      const [x, y] = boxOf(item);
      const text = item.of === "detection" ? `${item.kind === "correct" ? "" : `${item.kind} `}${className(item.cls)} ${item.score.toFixed(2)}`
        : `${item.kind} ${className(item.object.cls)}`;
      const label = make("span", { className: `label k-${item.kind}${y < image.h * 0.06 ? " inside" : ""}`, textContent: text });
      label.dataset.key = keyOf(item);
      label.style.left = `${100 * Math.min(x, image.w * 0.97) / image.w}%`;
      label.style.top = `${100 * y / image.h}%`;
      layer.append(label);
    }
    return layer;
  };

  // Labels that would cover each other move inside their box or below it; one without room is hidden until it is chosen.
  const placeLabels = (frame) => {
    const room = frame.getBoundingClientRect();
    const taken = [];
    const hits = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
    for (const label of [...frame.querySelectorAll(".label")].reverse()) { // small boxes first
      const over = label.getBoundingClientRect().right - room.right;
      if (over > 0) label.style.marginLeft = `${-over}px`;
      const height = label.offsetHeight;
      const place = [0, height, -height, 2 * height].find((down) => {
        label.style.marginTop = `${down}px`;
        const at = label.getBoundingClientRect();
        return at.top >= room.top - 1 && !taken.some((other) => hits(at, other));
      });
      label.classList.toggle("no-room", place === undefined);
      if (place === undefined) label.style.marginTop = "0";
      else taken.push(label.getBoundingClientRect());
    }
  };

  const teacherText = (said) => said.slice(0, 2).map((one) => `${className(one.cls)} ${percent(one.share)}`).join(", ");
  // Lines about a box, for the tooltip and the panel: [[term, text], ...]
  const describe = (item) => {
    const lines = [["verdict", NAMES[item.kind === "Cls" && item.of === "verdict" ? "found" : item.kind] ?? item.kind]];
    if (item.of === "detection") {
      lines.push(["class", className(item.cls)], ["score", item.score.toFixed(3)]);
      if (item.object) lines.push(["object", className(item.object.cls)]);
      if (item.iou > 0) lines.push([item.object ? "IoU" : "largest IoU", item.iou.toFixed(2)]);
    } else {
      lines[0][1] = lookOf(item) === "lost" ? `not found: best is a ${item.kind} error` : NAMES[item.kind];
      lines.push(["class", className(item.object.cls)]);
      if (item.by) lines.push([item.kind === "found" ? "found by" : "best error", `${className(item.by.cls)} ${item.by.score.toFixed(2)}, IoU ${item.by.iou.toFixed(2)}`]);
    }
    lines.push(["size", `${Math.round(boxOf(item)[2])} \u00d7 ${Math.round(boxOf(item)[3])} px${item.kind === "crowd" ? "" : `, ${item.of === "detection" ? item.size : item.object.size}`}`]);
    // The same object in the other run.
    if (two && item.object && item.kind !== "crowd") {
      const other = 1 - item.run;
      const there = verdicts(item.image, other)[item.object.n];
      const how = there.by ? `${there.kind === "found" ? "found" : `not found, ${there.kind}`} ${className(there.by.cls)} ${there.by.score.toFixed(2)}` : "missed";
      lines.push([`object in ${Browse.letter(other)}`, how]);
    }
    const said = item.of === "detection" ? item.teacher : item.object.teacher;
    if (said) lines.push(["teacher", teacherText(said)]);
    return lines;
  };
  const shortText = (item) => describe(item).map(([term, text]) => (term === "verdict" ? text : `${term} ${text}`)).join(", ");

  // ---- crops ----
  const decoded = new Map();
  const decode = (image) => {
    if (!decoded.has(image.place)) {
      const element = new Image();
      element.src = image.source;
      decoded.set(image.place, image.source ? element.decode().then(() => element, () => null) : Promise.resolve(null));
      if (decoded.size > 60) decoded.delete(decoded.keys().next().value); // a decoded picture is a megabyte
    }
    return decoded.get(image.place);
  };
  const crop = (item, px, margin = 0.3) => {
    const canvas = make("canvas", { className: "crop", width: px * 2, height: px * 2 });
    canvas.style.width = canvas.style.height = `${px}px`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `crop: ${shortText(item)}`);
    const { image } = item;
    const [x, y, w, h] = boxOf(item);
    const side = Math.max(w, h, 12) * (1 + 2 * margin);
    const [left, top, zoom] = [x + w / 2 - side / 2, y + h / 2 - side / 2, canvas.width / side];
    const style = getComputedStyle(document.documentElement);
    const outline = ([bx, by, bw, bh], look, dash) => {
      const at = [(bx - left) * zoom, (by - top) * zoom, bw * zoom, bh * zoom];
      const context = canvas.getContext("2d");
      context.setLineDash([]);
      context.lineWidth = 7;
      context.strokeStyle = "rgb(0 0 0 / 55%)";
      context.strokeRect(...at);
      context.setLineDash(dash);
      context.lineWidth = 4;
      context.strokeStyle = style.getPropertyValue(`--k-${look}`);
      context.strokeRect(...at);
    };
    decode(image).then((picture) => {
      const context = canvas.getContext("2d");
      context.fillStyle = "#555";
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (picture && !state.off.has("picture")) {
        const [sx, sy] = [picture.naturalWidth / image.w, picture.naturalHeight / image.h];
        const [x0, y0, x1, y1] = [Math.max(0, left), Math.max(0, top), Math.min(image.w, left + side), Math.min(image.h, top + side)];
        context.imageSmoothingQuality = "high";
        context.drawImage(picture, x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy,
          (x0 - left) * zoom, (y0 - top) * zoom, (x1 - x0) * zoom, (y1 - y0) * zoom);
      }
      if (item.of === "detection" && item.object) outline(item.object.box, "found", [3, 7]);
      outline([x, y, w, h], lookOf(item), item.of === "detection" ? [] : [14, 8]);
    });
    return canvas;
  };

  Object.assign(Browse, {
    make, drawn, keyOf, boxOf, overlay, labels, placeLabels, describe, shortText, crop, boxesOn, lookOf, isDim, teacherText, NAMES, isLost, isError,
  });
})();
