"""The state of the checkout in env.json, which every number can be traced to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

import c2d
from c2d.core.provenance import attempt_facts, git_state


def _git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_the_state_of_a_checkout_of_this_package(tmp_path: Path) -> None:
    package = tmp_path / "c2d"
    package.mkdir()
    # the names of the package's own folder, so that a file which moved away is noticed
    for path in Path(c2d.__file__).parent.glob("*.py"):
        (package / path.name).write_text("")
    _git(tmp_path, "init", "-q")
    assert git_state(package) is None  # another project's repository, in which the package is not tracked
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "a")
    clean = git_state(package)
    assert clean is not None
    assert (len(clean["sha"]), clean["dirty"], clean["diff_sha256"]) == (40, False, None)
    (package / "new.py").write_text("")
    dirty = git_state(package)
    assert dirty is not None
    assert dirty["dirty"]
    assert len(dirty["diff_sha256"]) == 64


def test_an_attempt_has_the_threads_of_torch() -> None:
    """With another number of threads the same seed gives other numbers on a CPU."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert attempt_facts()["machine"]["threads"] == threads
    finally:
        torch.set_num_threads(before)
