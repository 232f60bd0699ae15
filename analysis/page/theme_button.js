"use strict";
// The button of the dark theme: it follows the system until the reader chooses.
(() => {
  const root = document.documentElement;
  const button = document.querySelector("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("c2d-look", root.dataset.theme); } catch { /* it lasts as long as the page */ }
    show();
  });
  system.addEventListener("change", show);
  show();
})();
