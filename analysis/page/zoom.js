"use strict";
// Opens a drawing over the whole window: pinch, wheel, double tap, drag, buttons and keys. For every element of
// data-zoom, which holds one svg or img; its value is the name that is read aloud. Without this script nothing is lost.
(() => {
  const MOST = 12;   // times the size that fits the window
  const STEP = 1.5;
  const TAP_MS = 350;
  const TAP_PX = 24;
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  class Zoom {
    constructor(holder) {
      this.holder = holder;
      this.open = make("button", { type: "button", className: "control zoom-open", textContent: "Enlarge" });
      this.open.setAttribute("aria-label", `Enlarge: ${holder.dataset.zoom}`);
      this.open.setAttribute("aria-haspopup", "dialog");
      holder.before(this.open);
      holder.classList.add("zoomable");
      this.open.addEventListener("click", () => this.show());
      holder.addEventListener("click", () => this.show());
    }

    // Inside the figure's own element, because the styles of a drawing are bound to it.
    build() {
      this.stage = make("div", { className: "zoom-stage", tabIndex: 0 });
      this.stage.setAttribute("role", "group");
      this.stage.setAttribute("aria-label", `${this.holder.dataset.zoom}: plus and minus change the size, arrows move, 0 shows all`);
      const button = (label, text, act) => {
        const made = make("button", { type: "button", className: "control", textContent: text });
        made.setAttribute("aria-label", label);
        made.addEventListener("click", act);
        return made;
      };
      const bar = make("div", { className: "zoom-bar" },
        button("Smaller", "\u2212", () => this.by(1 / STEP)),
        button("Larger", "+", () => this.by(STEP)),
        button("Show all", "Fit", () => this.fit()),
        button("Close", "Close", () => this.dialog.close()));
      this.dialog = make("dialog", { className: "zoom" }, bar, this.stage);
      this.dialog.setAttribute("aria-label", this.holder.dataset.zoom);
      this.holder.parentElement.append(this.dialog);
      this.dialog.addEventListener("close", () => this.hide());
      this.dialog.addEventListener("keydown", (event) => this.key(event));
      this.stage.addEventListener("wheel", (event) => {
        event.preventDefault();
        const { x, y } = this.at(event);
        this.by(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), x, y);
      }, { passive: false });
      this.fingers = new Map();
      this.stage.addEventListener("pointerdown", (event) => this.down(event));
      this.stage.addEventListener("pointermove", (event) => this.move(event));
      for (const name of ["pointerup", "pointercancel"]) this.stage.addEventListener(name, (event) => this.up(event));
    }

    show() {
      if (!this.dialog) this.build();
      this.drawing = this.holder.querySelector("svg, img");
      if (!this.drawing || this.dialog.open) return;
      const box = this.drawing.getBoundingClientRect();
      this.ratio = box.height / box.width;
      this.style = this.drawing.getAttribute("style");
      this.holder.style.minHeight = `${this.holder.offsetHeight}px`;  // the page behind does not jump
      this.stage.append(this.drawing);
      document.documentElement.classList.add("zooming");
      this.dialog.showModal();
      this.stage.focus();
      // The back button of a phone closes the drawing and stays on the page.
      this.entry = false;
      try { history.pushState({ zoom: true }, ""); this.entry = true; } catch { /* a frame without history */ }
      this.back = () => { this.entry = false; this.dialog.close(); };
      this.turned = () => this.fit();
      addEventListener("popstate", this.back);
      addEventListener("resize", this.turned);
      this.fit();
    }

    hide() {
      removeEventListener("popstate", this.back);
      removeEventListener("resize", this.turned);
      if (this.style === null) this.drawing.removeAttribute("style"); else this.drawing.setAttribute("style", this.style);
      this.holder.append(this.drawing);
      this.holder.style.minHeight = "";
      this.fingers.clear();
      document.documentElement.classList.remove("zooming");
      if (this.entry) history.back();
      this.open.focus({ preventScroll: true });
    }

    fit() {
      const { clientWidth: width, clientHeight: height } = this.stage;
      this.width = Math.min(width, height / this.ratio);
      this.scale = 1;
      this.x = (width - this.width) / 2;
      this.y = (height - this.width * this.ratio) / 2;
      this.place();
    }

    // Larger or smaller around a point of the stage, its middle by default.
    by(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
      const next = Math.min(Math.max(this.scale * factor, 1), MOST);
      this.x = x - (x - this.x) * next / this.scale;
      this.y = y - (y - this.y) * next / this.scale;
      this.scale = next;
      this.place();
    }

    // Never out of sight: what is smaller than the stage is in its middle, what is larger covers it.
    place() {
      const held = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
      this.x = held(this.x, this.width * this.scale, this.stage.clientWidth);
      this.y = held(this.y, this.width * this.ratio * this.scale, this.stage.clientHeight);
      // Its width and not a scaled picture, so that lines and letters stay sharp.
      Object.assign(this.drawing.style, {
        width: `${this.width * this.scale}px`, maxWidth: "none", height: "auto", position: "absolute", left: "0", top: "0",
        transform: `translate(${this.x}px, ${this.y}px)`,
      });
      this.stage.dataset.scale = this.scale.toFixed(2);
    }

    at(event) {
      const box = this.stage.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    down(event) {
      this.stage.setPointerCapture(event.pointerId);
      const at = this.at(event);
      this.fingers.set(event.pointerId, at);
      if (this.fingers.size > 1) { this.tapped = null; return; }
      const before = this.tapped;
      this.tapped = { ...at, time: event.timeStamp };
      if (before && event.timeStamp - before.time < TAP_MS && Math.hypot(at.x - before.x, at.y - before.y) < TAP_PX) {
        this.tapped = null;
        if (this.scale > 1.05) this.fit(); else this.by(4, at.x, at.y);
      }
    }

    move(event) {
      const before = this.fingers.get(event.pointerId);
      if (!before) return;
      const now = this.at(event);
      const others = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      this.fingers.set(event.pointerId, now);
      if (others.length > 1) return;
      if (others.length === 1) {
        const [other] = others;
        const spread = (at) => Math.max(Math.hypot(at.x - other.x, at.y - other.y), 1);
        this.x += (now.x - before.x) / 2;
        this.y += (now.y - before.y) / 2;
        this.by(spread(now) / spread(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      } else {
        this.x += now.x - before.x;
        this.y += now.y - before.y;
        this.place();
      }
    }

    up(event) { this.fingers.delete(event.pointerId); }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const far = 60;
      const moves = { ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
      if (event.key === "+" || event.key === "=") this.by(STEP);
      else if (event.key === "-") this.by(1 / STEP);
      else if (event.key === "0") this.fit();
      else if (moves[event.key]) { this.x += moves[event.key][0]; this.y += moves[event.key][1]; this.place(); } else return;
      event.preventDefault();
    }
  }

  document.querySelectorAll("[data-zoom]").forEach((holder) => new Zoom(holder));
})();
