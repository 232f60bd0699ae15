"""An archive file in the place of a store: unpacked once into the cache, and again where the cache was cleaned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2d.core.archives.archive_file import pack
from c2d.core.archives.unpacked_store import UNUSED_S, unpacked_store
from c2d.core.errors import InputError
from c2d.core.store_folder import named_store, runs_folder
from tests.c2d.core.archives.test_archive_file import RUN, folder_of


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    pack(folder_of(tmp_path / "a"), tmp_path / "a.tar.xz")
    return tmp_path / "a.tar.xz"


def test_it_is_unpacked_once_and_again_when_a_file_is_missing(tmp_path: Path, archive: Path) -> None:
    cache = tmp_path / "cache"
    store = unpacked_store(archive, cache)
    spec = store / RUN / "spec.json"
    inode = spec.stat().st_ino
    assert unpacked_store(archive, cache) == store
    assert spec.stat().st_ino == inode
    (store / RUN / "metrics.jsonl").unlink()
    assert unpacked_store(archive, cache) == store
    assert (store / RUN / "metrics.jsonl").is_file()
    assert spec.stat().st_ino != inode
    assert [path.name for path in store.parent.iterdir()] == [store.name]  # no draft is left


def test_archives_that_nobody_read_for_long_are_removed(tmp_path: Path, archive: Path) -> None:
    old = tmp_path / "cache" / "archives" / "old"
    old.mkdir(parents=True)
    now = old.stat().st_mtime
    os.utime(old, (now - UNUSED_S - 60,) * 2)
    unpacked_store(archive, tmp_path / "cache")
    assert not old.exists()


def test_folders_stay_and_other_files_are_refused(tmp_path: Path, archive: Path) -> None:
    assert unpacked_store(tmp_path / "a", tmp_path / "cache") == tmp_path / "a"
    assert unpacked_store(tmp_path / "missing", None) == tmp_path / "missing"
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(InputError, match=r"NAME\.tar\.xz"):
        unpacked_store(tmp_path / "b.txt", None)


def test_without_a_cache_it_is_unpacked_for_this_process(archive: Path) -> None:
    assert (unpacked_store(archive, None) / RUN / "spec.json").is_file()


def test_commands_that_need_a_store_say_how_an_archive_becomes_one(archive: Path) -> None:
    assert named_store(archive) == archive
    with pytest.raises(InputError, match="c2d runs import"):
        runs_folder(archive)
