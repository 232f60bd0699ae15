"""Check the code of a run before it runs: python executes this file alone, with `python -I`, never the code it checks.

The launcher copies this file into the folder of a submission, and the batch script runs the copy. So it imports the
standard library only: where a snapshot is missing, an installed c2d would be other code.

`verify_snapshot.py SNAPSHOT DIGEST` checks, prints nothing, and exits with 0, or with CODE_EXIT where code is missing
or altered. With FOLDERS_TXT as a third argument it also prints the reason and records it as the failure of the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FACTS = "snapshot.json"
FAILURE_CLASS = "snapshot"
CODE_EXIT = 3
DIGITS = 16
FRESH_S = 300.0
"""Age of a heartbeat up to which another process writes the run."""


def digest_of(content: dict[str, bytes]) -> str:
    """Return a hex digest over relative names and contents, without time stamps.

    Args:
        content: {relative name: bytes}.
    """
    total = hashlib.sha256()
    for name in sorted(content):
        total.update(f"{name}\0{hashlib.sha256(content[name]).hexdigest()}\n".encode())
    return total.hexdigest()[:DIGITS]


def code_files(root: Path) -> dict[str, bytes]:
    """Return {relative name: bytes} of all files below a folder, without compiled python and hidden files."""
    found: dict[str, bytes] = {}
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and not name.endswith(".pyc"):
                path = Path(base, name)
                try:
                    if path.is_file():
                        found[path.relative_to(root).as_posix()] = path.read_bytes()
                except FileNotFoundError:  # a temporary file of an editor
                    continue
    return found


def snapshot_problem(snapshot: Path, digest: str) -> str:
    """Return why a snapshot cannot be used, or "".

    Args:
        snapshot: its folder.
        digest: of its content when it was taken.
    """
    try:
        if not (snapshot / FACTS).is_file():  # a named pipe would block
            return f"{snapshot / FACTS} is missing"
        facts = json.loads((snapshot / FACTS).read_bytes())
        content = code_files(snapshot)
    except FileNotFoundError:
        return f"{snapshot / FACTS} is missing"
    except (OSError, ValueError, RecursionError) as error:
        return f"{snapshot} cannot be read: {getattr(error, 'strerror', None) or error}"
    content.pop(FACTS, None)
    recorded = facts.get("digest") if isinstance(facts, dict) else None
    if recorded != digest:
        return f"{snapshot / FACTS} has digest {str(recorded)[:DIGITS]}, submitted was {digest}"
    found = digest_of(content)
    return "" if found == digest else f"{snapshot} has been altered: its content has digest {found}"


def failure_reason(problem: str) -> str:
    """Return the line that a run records whose code cannot be used."""
    return f"the code it was submitted with cannot be used: {problem}; nothing was trained with other code"


def record_code_failure(run: Path, reason: str, by: str = "after") -> None:
    """Write the failure into status.json and attempts.jsonl, unless the run is done or another process writes it.

    Args:
        run: the run folder.
        reason: see `failure_reason`.
        by: who records it: after (on a node) or local.
    """
    try:
        before = json.loads((run / "status.json").read_bytes())
    except (OSError, ValueError):
        before = {}
    before = before if isinstance(before, dict) else {}
    if (before.get("state") == "done" and (run / "result.json").exists()) or _is_written(before):
        return
    now, node = datetime.now(UTC).isoformat(timespec="seconds"), os.environ.get("SLURMD_NODENAME")
    status = {"attempt": 0, **before, "format": 1, "state": "failed", "host": socket.gethostname(), "pid": os.getpid()}
    status |= {"reason": reason, "failure_class": FAILURE_CLASS, "error": reason, "heartbeat": now}
    status |= {"node": node} if node else {}
    run.mkdir(parents=True, exist_ok=True)
    draft = run / f".status.json.{os.getpid()}"
    draft.write_text(json.dumps(status, indent=2) + "\n")
    os.replace(draft, run / "status.json")
    iteration = before.get("iteration") or 0
    line: dict[str, Any] = {"time": now, "class": FAILURE_CLASS, "reason": reason, "job": _own_job() or None}
    line |= {"node": node or socket.gethostname(), "exit_code": CODE_EXIT, "iteration": iteration, "seconds": 0.0}
    line |= {"lost_s": 0.0, "requeued": False, "by": by, "attempt": None}
    with (run / "attempts.jsonl").open("ab") as stream:
        stream.write((json.dumps(line) + "\n").encode())


def _is_written(status: dict[str, Any]) -> bool:
    """Return whether a process writes the run: on this host its pid decides, elsewhere the heartbeat."""
    if status.get("state") != "running":
        return False
    try:
        if status.get("host") == socket.gethostname():
            os.kill(int(status["pid"]), 0)
            return True
        return time.time() - datetime.fromisoformat(status["heartbeat"]).timestamp() < FRESH_S
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return False


def _own_job() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def main(arguments: list[str]) -> int:
    """Check a snapshot; see the head of this file."""
    problem = snapshot_problem(Path(arguments[0]), arguments[1])
    if problem and len(arguments) > 2:
        reason, folders = failure_reason(problem), Path(arguments[2])
        if not folders.is_file():  # a probe trains no run
            print(f"failed ({FAILURE_CLASS}): {reason}", flush=True)
            return CODE_EXIT
        run = Path(folders.read_text().splitlines()[int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0)])
        print(f"{run.name} failed ({FAILURE_CLASS}): {reason}", flush=True)
        record_code_failure(run, reason)
    return CODE_EXIT if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
