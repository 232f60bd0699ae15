"""Make the reports of smoke sweeps as processes: the default one, and those of analysis/reports that name a sweep."""

from __future__ import annotations

import subprocess
from importlib import resources

from c2d.core.process.python_process import module_command, module_environment
from c2d.core.yaml.yaml_lines import parse_mapping
from sweeps.smoke.smoke_store import SmokeStore


def reports_of(sweep: str) -> list[str]:
    """Return the names of the shipped report specs of a sweep."""
    folder = resources.files("analysis") / "reports"
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".yaml")}
    return sorted(
        name.removesuffix(".yaml")
        for name, text in texts.items()
        if parse_mapping(text, name, "see docs/analysis.md").get("sweep") == sweep
    )


def smoke_report(sweep: str, store: SmokeStore) -> str:
    """Make the report of one sweep; return what is wrong, "" if nothing is."""
    out = store.reports / sweep
    options = ["--sweep", sweep, "--runs", str(store.runs), "--data", str(store.data), "--out", str(out)]
    done = subprocess.run(
        module_command("c2d", "report", *reports_of(sweep), *options),
        env=module_environment(C2D_CACHE=str(store.root / "cache")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    return f"c2d report --sweep {sweep} ended with exit code {done.returncode}: {(done.stdout or '').strip()[-500:]}"
