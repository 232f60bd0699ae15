"""A data set on the node's own disk: one copy, whole or not used, and never a reason to fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import load_card
from c2d.data.scenes.make_scenes import make_scenes
from sweeps.node import staging
from sweeps.node.staging import STAGED, stage

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    make_scenes(root / "scenes", train=12, val=4, size=64, seed=0)
    (root / "scenes" / "notes.txt").write_text("not of the data set")
    return root


@pytest.fixture
def card(shared: Path) -> LoadedCard:
    return load_card("scenes", shared)


def staged(card: LoadedCard, shared: Path, target: Path | str) -> tuple[Path, list[str]]:
    messages: list[str] = []
    return stage("scenes", card.card.digest, shared, str(target), messages.append), messages


def test_data_are_copied_once(card: LoadedCard, shared: Path, tmp_path: Path) -> None:
    place, messages = staged(card, shared, tmp_path / "node")
    assert place == tmp_path / "node" / f"scenes-{card.card.digest[:16]}"
    assert messages[0].startswith(
        f"data set scenes copied to {place}: 19 files"
    )  # 16 images, 2 annotation files, the card
    assert load_card(str(place)).card == card.card
    assert {path.name for path in load_card(str(place)).images("train").iterdir()} == {
        path.name for path in card.images("train").iterdir()
    }
    assert not (place / "notes.txt").exists()
    before = (place / STAGED).stat().st_mtime_ns
    assert staged(card, shared, tmp_path / "node") == (place, [])
    assert (place / STAGED).stat().st_mtime_ns == before


def test_variables_are_the_nodes(
    card: LoadedCard, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_DISK", str(tmp_path))
    assert staged(card, shared, "$NODE_DISK/x")[0].parent == tmp_path / "x"
    monkeypatch.delenv("NODE_DISK")
    place, messages = staged(card, shared, "$NODE_DISK/x")
    assert place == shared
    assert "a variable of it is not set on this node" in messages[0]


def test_a_full_disk_falls_back_to_the_shared_one(
    card: LoadedCard, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []

    def full(source: Any, target: Any) -> None:
        copied.append(source)
        if len(copied) > 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(shutil, "copyfile", full)
    place, messages = staged(card, shared, tmp_path / "node")
    assert place == shared
    assert messages[0].startswith("warning: data set scenes is read from")
    assert "No space left on device" in messages[0]
    assert [path.name for path in (tmp_path / "node").iterdir() if not path.name.endswith(".lock")] == []


def test_an_incomplete_copy_is_not_used(
    card: LoadedCard, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(source: Any, target: Any) -> None:
        data = Path(source).read_bytes()
        Path(target).write_bytes(data[: len(data) // 2] if "annotations" in str(source) else data)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", short)
        place, messages = staged(card, shared, tmp_path / "node")
        assert place == shared
        assert messages[0].startswith("warning")
    place, _ = staged(card, shared, tmp_path / "node")
    next(load_card(str(place)).images("train").iterdir()).unlink()  # a cleaner of temporary folders came by
    again, messages = staged(card, shared, tmp_path / "node")
    assert (again, len(messages)) == (place, 1)
    assert len(list(load_card(str(place)).images("train").iterdir())) == 12


def test_other_data_under_the_same_name_are_another_copy(card: LoadedCard, tmp_path: Path) -> None:
    make_scenes(tmp_path / "scenes", train=3, val=2, size=64, seed=1)
    other = load_card("scenes", tmp_path)
    place, _ = staged(other, tmp_path, tmp_path / "node")
    assert other.card.digest != card.card.digest
    assert place.name.endswith(other.card.digest[:16])
    with pytest.raises(InputError, match="has digest"):
        stage("scenes", card.card.digest, tmp_path, str(tmp_path / "node"))


def test_two_processes_at_once_copy_once(card: LoadedCard, shared: Path, tmp_path: Path) -> None:
    code = (
        "import shutil, sys, time\nfrom pathlib import Path\nfrom sweeps.node import staging\n"
        "copy = shutil.copyfile\n"
        "def slow(*a):\n    time.sleep(0.05)\n    return copy(*a)\n"
        "shutil.copyfile = slow\n"
        f"print(staging.stage('scenes', {card.card.digest!r}, Path({str(shared)!r}), {str(tmp_path / 'node')!r}))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    lines = [process.communicate(timeout=60)[0].splitlines() for process in both]
    assert sum("copied to" in line for messages in lines for line in messages) == 1
    assert len({messages[-1] for messages in lines}) == 1
    assert sorted(path.name for path in (tmp_path / "node").iterdir() if path.is_dir()) == [Path(lines[0][-1]).name]


def test_a_killed_copy_does_not_block_others(card: LoadedCard, shared: Path, tmp_path: Path) -> None:
    code = (
        "import os, shutil, signal\nfrom pathlib import Path\nfrom sweeps.node import staging\n"
        "shutil.copyfile = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"staging.stage('scenes', {card.card.digest!r}, Path({str(shared)!r}), {str(tmp_path / 'node')!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT)
    assert killed.returncode == -9
    assert list((tmp_path / "node").glob(".*.part"))
    place, messages = staged(card, shared, tmp_path / "node")
    assert place.parent == tmp_path / "node"
    assert "copied to" in messages[0]
    assert not list((tmp_path / "node").glob(".*.part"))
    assert os.listdir(place / "annotations") if (place / "annotations").exists() else staging._complete(place)
