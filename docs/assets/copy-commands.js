// The copy button of a block of commands copies the commands alone: no prompt, no output.
document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest('[data-md-type="copy"]');
  const block = button && button.closest(".language-console");
  if (!block || button.dataset.clipboardText) return;
  let continued = false;
  const commands = block.querySelector("code").textContent.split("\n").filter((line) => {
    const kept = continued || line.startsWith("$ ");
    continued = kept && line.endsWith("\\");
    return kept;
  });
  button.dataset.clipboardText = commands.map((line) => line.replace(/^\$ /, "")).join("\n") + "\n";
}, true);
