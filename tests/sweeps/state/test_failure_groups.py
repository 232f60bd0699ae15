"""Failed runs by class, in text and in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.state.failure_groups import group_failures
from sweeps.state.plan import Row


def failed(name: str, line: str) -> dict[str, Any]:
    stamp = "2026-11-20T10:00:00+00:00"
    return {"format": 1, "state": "failed", "failure_class": name, "reason": line, "error": line, "heartbeat": stamp}


def test_groups_are_printed_with_one_example_of_equal_failures(tmp_path: Path) -> None:
    rows = []
    for seed, messages in enumerate(["KeyError: 'a' at 0x7f1", "KeyError: 'a' at 0x7f2", "ValueError"]):
        run = RunFolder(tmp_path / f"ssd-icod-0123456789ab-s{seed}")
        atomic_write_json(run.status, failed("user-code", messages))
        rows.append(Row(run, "student", (), "failed", messages, False, run.read_status(), None, "user-code"))
    rows.append(replace(rows[0], state="done"))
    (group,) = group_failures(rows)
    text = group.text()
    assert text.startswith("user-code: 3 runs\n" + FAILURE_CLASSES["user-code"].suggestion)
    assert "s0 and 1 like it" in text
    assert group.to_json()["count"] == 3
    assert json.dumps(group.to_json())
