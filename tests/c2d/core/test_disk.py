"""Temporary names: what they tell about their writer, and which files of killed processes are recognised by them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2d.core.disk import (
    DiskError,
    Unfinished,
    check_output,
    host_digest,
    make_draft_folder,
    open_draft,
    temporary_path,
    unfinished,
)
from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_text
from c2d.core.run_state import ABANDONED_S, is_abandoned, remove_abandoned

GONE = 2**22 + 1
"""A pid that no process has."""


@pytest.mark.parametrize(
    "name", ["status.json", "a b", ".hidden", "ä\n.pth", "x" * 255, "ä" * 127, "a.0a1b2c-7-00112233"]
)
def test_a_temporary_name_tells_its_writer(tmp_path: Path, name: str) -> None:
    handle, draft = open_draft(tmp_path / name)
    os.close(handle)
    told = unfinished(draft.name)
    assert told == Unfinished(told.name if told else "", host_digest(), os.getpid())
    assert name.startswith(told.name)
    assert told.name == name or len(name.encode()) > 200
    atomic_write_text(tmp_path / name, "whole")
    assert (tmp_path / name).read_text() == "whole"


@pytest.mark.parametrize(
    "name",
    ["status.json", ".status.json", ".notes.markdown", ".status.json.swp", ".git", ".x.tmp", ".a.0a1b2c-7-0011223.tmp",
     ".a.0A1B2C-7-00112233.tmp", "a.0a1b2c-7-00112233.tmp", ".a.0a1b2c-x-00112233.tmp", ".a.0a1b2c-7-00112233.tmp.gz"],
)  # fmt: skip
def test_other_names_are_not_taken_for_one(name: str) -> None:
    assert unfinished(name) is None


def test_outputs_that_cannot_be_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("", "is a folder"), ("pipe", "is a device or a pipe"), ("file/x", "file is no folder")):
        with pytest.raises(InputError, match=message):
            check_output(tmp_path / name)
    with pytest.raises(InputError, match="is a folder"):
        check_output(Path())
    for name in ("file", "new", "a/b/new"):
        check_output(tmp_path / name)


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(DiskError, match="it is a device"):
        atomic_write_text(device, "x")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_who_has_ended(tmp_path: Path) -> None:
    now, here = time.time(), host_digest()

    def left(host: str, pid: int, age_s: float = 0.0, name: str = "a.pth") -> bool:
        path = tmp_path / f".{name}.{host}-{pid}-00112233.tmp"
        path.write_text("half")
        os.utime(path, (now - age_s, now - age_s))
        return is_abandoned(path, now)

    assert left(here, GONE)
    assert not left(here, os.getpid())
    assert left(here, os.getpid(), age_s=now)  # that process is younger than the file: another one has its number
    assert not left("0a1b2c", GONE)
    assert left("0a1b2c", GONE, age_s=ABANDONED_S + 1)
    old = tmp_path / ".iter_00000007.pth.k3_0zz9a"  # an earlier version has no writer in the name
    old.write_text("half")
    assert not is_abandoned(old, now)
    assert is_abandoned(old, now + ABANDONED_S + 60)
    link = tmp_path / f".b.{here}-{GONE}-00112233.tmp"
    link.symlink_to(old)
    assert not is_abandoned(link, now)
    assert not is_abandoned(tmp_path / f".c.{here}-{GONE}-00112233.tmp", now)


def test_what_killed_processes_left_beside_a_place_is_removed(tmp_path: Path) -> None:
    make = "import sys; from pathlib import Path; from c2d.core.disk import make_draft_folder as make; "
    code = f"{make}(make(Path(sys.argv[1])) / 'image.png').write_text('x')"
    place = tmp_path / "scenes[1]"
    subprocess.run([sys.executable, "-c", code, str(place)], check=True, cwd=Path(__file__).parents[3])
    mine, other = make_draft_folder(place), temporary_path(tmp_path / "scenes1")
    other.mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    remove_abandoned(place)
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])
