// Sets the theme that the reader chose before anything is painted. A file:// page may have no storage; then it follows the system.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("c2d-look"); } catch { /* no storage here */ }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
