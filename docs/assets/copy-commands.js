// The copy button of a block of commands copies the commands alone: no prompt, no output.
document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest('[data-md-type="copy"]');
  const block = button && button.closest(".language-console");
  if (!block || button.dataset.clipboardText) return;
  const code = block.querySelector("code").cloneNode(true);
  code.querySelectorAll(".go").forEach((output) => output.remove());
  code.querySelectorAll(".gp").forEach((prompt) => prompt.remove());
  const lines = code.textContent.split("\n").filter((line) => line.trim());
  button.dataset.clipboardText = lines.join("\n") + "\n";
}, true);
