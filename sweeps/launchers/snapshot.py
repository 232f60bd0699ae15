"""Snapshot of the code of a launch: a copy of the four packages as they are on disk, named by a digest of its content.

Jobs wait in a queue for days while the checkout is edited; they run the code that was submitted, with uncommitted and
untracked files. Runs of the same code share one copy (about 1 MB). PYTHONPATH=<copy> puts it before an installed c2d,
and PYTHONSAFEPATH=1 keeps the current folder off the module path.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from c2d.core.disk import disk_error, temporary_path
from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.core.store_folder import RunStore
from sweeps.node.verify_snapshot import FACTS, code_files, digest_of, snapshot_problem

FORMAT = 1
PACKAGES = ("c2d", "sweeps", "analysis", "benchmarks")


def take_snapshot(runs: Path) -> str:
    """Copy the code that this process imports into `runs`/snapshots, unless it exists; return its digest.

    A copy that was altered, or left by an interrupted removal, is moved aside.

    Two shells may take the same snapshot at once: each writes a folder of its own, and the first rename wins.

    Raises:
        InputError: a package of the suite is not installed.
        RunError: the disk is full.
    """
    content = _content()
    digest = digest_of(content)
    place = snapshot_folder(runs, digest)
    if not snapshot_problem(place, digest):
        with suppress(OSError):
            os.utime(place)  # `gc` removes old snapshots that no job names yet
        return digest
    draft = temporary_path(place)
    try:
        for name, data in content.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(path.stat().st_mode & 0o444)  # so that an editor does not change what has run
        facts = {
            "format": FORMAT,
            "digest": digest,
            "git": _git(),
            "files": len(content),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        atomic_write_json(draft / FACTS, facts)
        if place.exists() and snapshot_problem(place, digest):
            place.rename(place.with_name(f".{digest}.{uuid.uuid4().hex[:8]}.old"))
        with suppress(FileExistsError):
            _rename(draft, place)
    except OSError as error:
        raise disk_error(place, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return digest


def snapshot_folder(runs: Path, digest: str) -> Path:
    """Return the folder of a snapshot, which is also its PYTHONPATH."""
    return RunStore(Path(runs)).snapshots / digest


def snapshot_environment(runs: Path, digest: str) -> dict[str, str]:
    """Return the variables with which python runs this snapshot, not the installed c2d or modules of the folder."""
    return {"PYTHONPATH": str(snapshot_folder(runs, digest)), "PYTHONSAFEPATH": "1", "C2D_SNAPSHOT": digest}


def _content() -> dict[str, bytes]:
    """Return {relative name: bytes} of the packages on disk, without compiled python and hidden files."""
    return {f"{package}/{name}": data for package, root in _roots().items() for name, data in code_files(root).items()}


def _roots() -> dict[str, Path]:
    """Return {package: folder}, in a checkout, in site-packages or in another snapshot. Imports no package."""
    roots = {}
    for package in PACKAGES:
        spec = find_spec(package)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise InputError(f"missing: package {package} beside c2d; fix: install c2d again (docs/install.md)")
        roots[package] = Path(places[0])
    return roots


def _git() -> dict[str, object] | None:
    """Return {sha, dirty, diff_sha256} of the checkout; for code of a snapshot, what that snapshot recorded."""
    from c2d.core.provenance import git_state, snapshot_facts

    root = _roots()["c2d"]
    facts = snapshot_facts(root.parent)
    return facts["git"] if facts else git_state(root)


def _rename(draft: Path, place: Path) -> None:
    """Rename a folder; FileExistsError where another process was first."""
    try:
        # Onto a folder that is not empty: ENOTEMPTY or EEXIST, depending on the file system.
        os.rename(draft, place)
    except OSError as error:
        if (place / FACTS).is_file():
            raise FileExistsError(place) from error
        raise
