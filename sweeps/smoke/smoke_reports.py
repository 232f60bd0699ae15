"""Make the reports of smoke sweeps as processes: the default one, and those of analysis/reports that name a sweep."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from c2d.core.process.python_process import module_command, module_environment
from sweeps.reproduce.shipped_reports import reports_of
from sweeps.smoke.smoke_store import SmokeStore


def smoke_reports(sweeps: Sequence[str], store: SmokeStore, at_once: int) -> Iterator[tuple[str, str]]:
    """Make the reports of sweeps, some at a time; yield (sweep, what is wrong, "" if nothing is) in their order."""
    with ThreadPoolExecutor(at_once) as workers:
        yield from zip(sweeps, workers.map(partial(_smoke_report, store=store), sweeps), strict=True)


def _smoke_report(sweep: str, store: SmokeStore) -> str:
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
