"""Control of the fake SLURM by a test: set its next answers, read the calls that it got."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

BIN = Path(__file__).parent / "bin"
COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun")


class FakeSlurm:
    """A folder of commands that come first on PATH, and their state."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, commands: Iterable[str] = COMMANDS) -> None:
        """Only `commands` exist; without any, none of SLURM is found, whatever this machine has installed."""
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        path = folder / "bin"
        path.mkdir()
        for name in commands:
            (path / name).symlink_to(BIN / name)
        (path / "python3").symlink_to(sys.executable)
        for tool in ("bash", "mv", "env", "cat", "sed", "sleep"):
            (path / tool).symlink_to(next(p / tool for p in map(Path, ("/bin", "/usr/bin")) if (p / tool).exists()))
        monkeypatch.setenv("PATH", str(path))
        monkeypatch.setenv("FAKE_SLURM", str(self.state))
        for name in os.environ:
            if name.startswith(("SLURM_", "SBATCH_")):
                monkeypatch.delenv(name)

    def behave(self, **behaviour: Any) -> None:
        (self.state / "behaviour.json").write_text(json.dumps(behaviour))

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        path = self.state / "jobs.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def change(self, number: str, **facts: Any) -> None:
        """Replace facts of a job; `state` is that of all its tasks."""
        jobs = self.jobs
        if "state" in facts:
            facts["states"] = [facts.pop("state")] * len(jobs[number]["states"])
        jobs[number] |= facts
        (self.state / "jobs.json").write_text(json.dumps(jobs))

    def calls(self, command: str) -> list[list[str]]:
        path = self.state / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call[0] == command]
