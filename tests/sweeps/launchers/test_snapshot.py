"""The code of a launch: named by its content, taken once, and what jobs run whatever happens to the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from c2d.core.provenance import snapshot_facts
from sweeps.launchers import snapshot
from sweeps.launchers.snapshot import PACKAGES, snapshot_environment, snapshot_folder, take_snapshot

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, which a test may edit; not even a repository."""
    root = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def python(code: str, environment: dict[str, str], cwd: Path) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "C2D_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **environment}, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def taken(checkout: Path, runs: Path) -> str:
    imports = "from pathlib import Path; from sweeps.launchers.snapshot import take_snapshot"
    code = f"{imports}; print(take_snapshot(Path({str(runs)!r})))"
    return python(code, {"PYTHONPATH": str(checkout)}, checkout)


def test_what_is_kept(tmp_path: Path) -> None:
    digest = take_snapshot(tmp_path)
    place = snapshot_folder(tmp_path, digest)
    facts = json.loads((place / "snapshot.json").read_text())
    assert facts["digest"] == digest == place.name
    kept = [path.relative_to(place) for path in place.rglob("*") if path.is_file() and path.name != "snapshot.json"]
    assert facts["files"] == len(kept)
    assert {path.parts[0] for path in kept} == set(PACKAGES)
    assert not [path for path in kept if path.suffix == ".pyc" or "__pycache__" in path.parts]
    for name in ("sweeps/launchers/snapshot.py", "c2d/methods/catalog.json", "sweeps/profiles/default.yaml"):
        assert (place / name).read_bytes() == (ROOT / name).read_bytes()
    assert os.listdir(tmp_path / "snapshots") == [digest]


def test_the_same_code_is_kept_once(tmp_path: Path) -> None:
    digest = take_snapshot(tmp_path)
    before = (snapshot_folder(tmp_path, digest) / "snapshot.json").stat().st_mtime_ns
    assert take_snapshot(tmp_path) == digest
    assert (snapshot_folder(tmp_path, digest) / "snapshot.json").stat().st_mtime_ns == before


def test_untracked_and_edited_files_make_another_snapshot(checkout: Path, tmp_path: Path) -> None:
    first = taken(checkout, tmp_path)
    new = checkout / "c2d" / "methods" / "mine.py"
    new.write_text("THEIRS = 1\n")
    try:
        second = taken(checkout, tmp_path)
        assert (snapshot_folder(tmp_path, second) / "c2d" / "methods" / "mine.py").exists()
    finally:
        new.unlink()
    assert first != second
    assert taken(checkout, tmp_path) == first


def test_jobs_run_the_code_as_it_was_at_submission(checkout: Path, tmp_path: Path) -> None:
    """With another c2d installed (this one, editable), in the folder of the edited checkout."""
    digest = taken(checkout, tmp_path)
    names = checkout / "c2d" / "core" / "errors.py"
    before = names.read_text()
    names.write_text(before + "\nEDITED = True\n")
    try:
        code = "import c2d.core.errors as e, sweeps.node.job as j; print(hasattr(e, 'EDITED'), e.__file__, j.__file__)"
        edited, where, job = python(code, snapshot_environment(tmp_path, digest), checkout).split()
        assert edited == "False"
        assert Path(where) == snapshot_folder(tmp_path, digest) / "c2d" / "core" / "errors.py"
        assert Path(job).is_relative_to(snapshot_folder(tmp_path, digest))
        now = python(code, {"PYTHONPATH": str(checkout)}, checkout)
        assert now.startswith("True")
    finally:
        names.write_text(before)


def test_two_shells_take_one_snapshot(tmp_path: Path) -> None:
    imports = "from pathlib import Path; from sweeps.launchers.snapshot import take_snapshot"
    code = f"{imports}; print(take_snapshot(Path({str(tmp_path)!r})))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
    ]
    digests = {process.communicate(timeout=60)[0].strip() for process in both}
    assert all(process.returncode == 0 for process in both)
    assert len(digests) == 1
    assert os.listdir(tmp_path / "snapshots") == list(digests)


def test_one_that_was_half_removed_is_taken_again(tmp_path: Path) -> None:
    digest = take_snapshot(tmp_path)
    place = snapshot_folder(tmp_path, digest)
    (place / "snapshot.json").unlink()
    (place / "c2d" / "core" / "errors.py").unlink()
    assert take_snapshot(tmp_path) == digest
    assert (place / "c2d" / "core" / "errors.py").exists()
    assert (place / "snapshot.json").exists()


def test_provenance_comes_from_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_git", lambda: {"sha": "a" * 40, "dirty": True, "diff_sha256": "b" * 64})
    digest = take_snapshot(tmp_path)
    place = snapshot_folder(tmp_path, digest)
    assert snapshot_facts(place) is None  # no variable marks this process as a job
    monkeypatch.setenv("C2D_SNAPSHOT", digest)
    facts = snapshot_facts(place)
    assert facts is not None
    assert (facts["digest"], facts["git"]["sha"]) == (digest, "a" * 40)
    assert snapshot_facts(ROOT) is None  # the variable is set, but this is the checkout


def test_outside_of_a_repository_there_is_no_git_state(checkout: Path, tmp_path: Path) -> None:
    place = snapshot_folder(tmp_path, taken(checkout, tmp_path))
    assert json.loads((place / "snapshot.json").read_text())["git"] is None
