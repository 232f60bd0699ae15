"""Public data sets from a server on this machine, with tiny archives: no connection to any other place."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.disk import DiskError
from c2d.core.download.http_download import Timing
from c2d.core.errors import InputError, RunError
from c2d.data.card import Card
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.fetch import fetch_dataset as fetch_module
from c2d.data.fetch import unpack as unpack_module
from c2d.data.fetch.fetch_dataset import FetchOptions, fetch_dataset
from c2d.data.fetch.fetch_record import read_record
from c2d.data.fetch.public_archives import PUBLIC_ARCHIVES, PublicArchives
from c2d.data.fetch.published_cards import LAYOUTS, VOC_SPLITS, Lists
from c2d.data.public import DOWNLOADS, public_cards
from tests.c2d.data.fetch.published_files import serve
from tests.c2d.file_server import FileServer, file_server

FAST = Timing(silence_s=1.0, tries=2, wait_s=0.01)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as started:
        yield started


class Caller:
    """Fetch the data set `tiny`, and keep the lines."""

    def __init__(self, table: dict[str, PublicArchives], out: Path) -> None:
        self.table, self.out, self.lines = table, out, list[str]()

    def __call__(self, **options: Any) -> tuple[Card, bool]:
        self.lines.clear()
        chosen = FetchOptions(timing=FAST, **options)
        return fetch_dataset("tiny", self.out, self.lines.append, chosen, self.table)

    def fails(self, kind: type[Exception] = RunError, **options: Any) -> str:
        with pytest.raises(kind) as info:
            self(**options)
        assert "\n" not in str(info.value)
        return str(info.value)


@pytest.fixture
def coco(server: FileServer, tmp_path: Path) -> Caller:
    return Caller(serve(server, "coco"), tmp_path / "data" / "tiny")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


def test_coco_is_usable_by_name_at_once(coco: Caller, server: FileServer, tmp_path: Path) -> None:
    card, changed = coco()
    assert changed
    assert {name: (split.n_images, split.n_boxes) for name, split in card.splits.items()} == {
        "train": (1, 1),
        "val": (1, 1),
    }
    loaded = load_card("tiny", tmp_path / "data")
    verify_card(loaded)
    assert [split.images for split in loaded.card.splits.values()] == ["train2017", "val2017"]
    assert names(coco.out) == {
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
        "train2017/000000000001.jpg",
        "val2017/000000000002.jpg",
        "card.json",
        "fetched.json",
    }
    asked = len(server.requests)
    again, changed = coco()
    assert (again, changed, len(server.requests), coco.lines) == (card, False, asked, [])


@pytest.mark.parametrize("layout", ["coco", "voc"])
def test_a_flaw_of_the_published_files_is_a_note(server: FileServer, tmp_path: Path, layout: str) -> None:
    caller = Caller(serve(server, layout, same_picture=True), tmp_path / "tiny")
    assert set(caller()[0].splits) == {"train", "val"}
    assert any(line.startswith("note: ") and "a leak between splits" in line for line in caller.lines)


def test_an_image_that_cannot_be_read_is_an_error(coco: Caller) -> None:
    coco()
    (coco.out / "card.json").unlink()
    (coco.out / "train2017/000000000001.jpg").write_bytes(b"damaged by the disk")
    message = coco.fails(RunError)
    assert message.startswith(f"1 files in {coco.out} cannot be read (first: error: ")
    assert message.endswith("; remove the folder that they are in, and call the same command again")


def test_voc_of_two_years(server: FileServer, tmp_path: Path) -> None:
    caller = Caller(serve(server, "voc"), tmp_path / "tiny")
    card, _ = caller()
    assert {name: split.n_images for name, split in card.splits.items()} == {"train": 2, "val": 1}
    assert card.protocol == "voc"
    loaded = load_card(str(caller.out))
    verify_card(loaded)
    assert all(not os.path.isabs(split.images) for split in card.splits.values())  # a copy on a node has the images
    assert not any("SegmentationClass" in name for name in names(caller.out))
    assert caller()[1] is False


def test_kitti_with_a_random_split_and_with_lists(server: FileServer, tmp_path: Path) -> None:
    caller = Caller(serve(server, "kitti"), tmp_path / "tiny")
    card, _ = caller()
    assert {name: split.n_images for name, split in card.splits.items()} == {"train": 2, "val": 2}
    assert card.protocol == "kitti"
    assert any("half of the images, drawn at random" in line for line in caller.lines)
    assert "testing/image_2/000000.png" not in names(caller.out)
    (tmp_path / "train.txt").write_text("000000\n000001\n000002\n")
    (tmp_path / "val.txt").write_text("000003\n")
    lists = Lists(tmp_path / "train.txt", tmp_path / "val.txt")
    assert "`c2d data kitti" in caller.fails(InputError, lists=lists)
    other = Caller(caller.table, tmp_path / "other")
    card, _ = other(lists=lists)
    assert {name: split.n_images for name, split in card.splits.items()} == {"train": 3, "val": 1}


def test_lists_are_of_kitti(coco: Caller, server: FileServer, tmp_path: Path) -> None:
    assert "--train and --val are lists of kitti" in coco.fails(InputError, lists=Lists(tmp_path / "a", tmp_path / "b"))
    caller = Caller(serve(server, "kitti"), tmp_path / "tiny")
    assert "give both lists" in caller.fails(InputError, lists=Lists(tmp_path / "a"))
    assert f"no file {tmp_path / 'a'}" in caller.fails(InputError, lists=Lists(tmp_path / "a", tmp_path / "b"))
    assert not server.requests


def test_a_broken_download_is_continued_by_the_next_call(coco: Caller, server: FileServer) -> None:
    server.break_after, server.answers = [None, 100], []
    server.before = lambda s: s.answers.append((503, {})) if len(s.requests) > 2 else None
    message = coco.fails()
    assert "call the same command again to continue" in message
    assert "or download it by hand (https://example.org/site), and name its folder with --archives" in message
    server.before = None
    assert coco()[1]
    assert [request[1] for request in server.requests if request[0] == "/annotations.zip"] == [None]
    assert server.requests[-2] == ("/val2017.zip", "bytes=100-", '"one"')


def test_a_killed_extraction_is_continued(coco: Caller, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(unpack_module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        coco()
    assert (coco.out / "archives/annotations.zip").is_file()
    monkeypatch.undo()
    assert coco()[1]
    assert len(server.requests) == 3


def test_a_folder_that_was_removed_is_fetched_again(coco: Caller, server: FileServer) -> None:
    coco()
    shutil.rmtree(coco.out / "val2017")
    server.requests.clear()
    assert coco()[1]
    assert [request[0] for request in server.requests] == ["/val2017.zip"]


def test_archives_are_kept_on_request(coco: Caller) -> None:
    coco(keep=True)
    assert {name for name in names(coco.out) if name.startswith("archives/")} == {
        f"archives/{name}" for name in ("annotations.zip", "val2017.zip", "train2017.zip")
    }


def test_archives_that_were_downloaded_by_hand(coco: Caller, server: FileServer, tmp_path: Path) -> None:
    by_hand = tmp_path / "downloads"
    by_hand.mkdir()
    for name in ("annotations.zip", "train2017.zip"):
        (by_hand / name).write_bytes(server.files[f"/{name}"])
    by_hand.chmod(0o555)
    coco(archives=by_hand)
    assert [request[0] for request in server.requests] == ["/val2017.zip"]
    assert names(by_hand) == {"annotations.zip", "train2017.zip"}
    other = Caller(coco.table, tmp_path / "other")
    by_hand.chmod(0o755)
    (by_hand / "annotations.zip").write_bytes(b"<html>")
    message = other.fails(archives=by_hand)
    assert f"{by_hand / 'annotations.zip'} is not the published file: it has 6 bytes instead of" in message
    assert "download it again from https://example.org/site" in message
    assert (by_hand / "annotations.zip").read_bytes() == b"<html>"


def test_an_unknown_sha256_is_recorded(coco: Caller) -> None:
    first = coco.table["tiny"].archives[0]
    archives = (replace(first, sha256=""), *coco.table["tiny"].archives[1:])
    coco.table = {"tiny": replace(coco.table["tiny"], archives=archives)}
    coco()
    assert any(f"no sha256 is published; that of this file is {first.sha256}" in line for line in coco.lines)
    assert read_record(coco.out).archives["annotations.zip"].sha256 == first.sha256
    assert coco()[1] is False


def test_a_published_file_that_changed_is_fetched_again(coco: Caller, server: FileServer) -> None:
    coco()
    record = coco.out / "fetched.json"
    record.write_text(record.read_text().replace(coco.table["tiny"].archives[1].sha256, "0" * 64))
    server.requests.clear()
    assert coco()[1]
    assert [request[0] for request in server.requests] == ["/val2017.zip"]


def test_a_damaged_record_costs_a_download_only(coco: Caller) -> None:
    coco()
    (coco.out / "fetched.json").write_text("{")
    (coco.out / "card.json").unlink()
    assert coco()[1]


def test_a_card_that_another_command_made_is_enough(coco: Caller, server: FileServer) -> None:
    coco()
    (coco.out / "fetched.json").unlink()
    server.requests.clear()
    assert coco()[1] is False
    assert not server.requests


def test_a_folder_with_other_files_is_left_alone(coco: Caller, server: FileServer) -> None:
    coco.out.mkdir(parents=True)
    (coco.out / "thesis.tex").write_text("")
    assert "holds other files (first: thesis.tex); give a new folder with --out" in coco.fails(InputError)
    coco.out = coco.out / "thesis.tex"
    assert "is a file; give another folder with --out" in coco.fails(InputError)
    assert not server.requests


def test_too_little_space_is_found_before(coco: Caller, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(coco.out.anchor)._replace(free=1000)
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda path: usage)
    message = coco.fails(DiskError)
    assert "has 1000 bytes free, and tiny needs about " in message
    assert "or give another folder with --out" in message
    assert not server.requests


def test_a_disk_that_is_full_while_unpacking(coco: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(member: Any, path: Path) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(path))

    monkeypatch.setattr(unpack_module, "_write", full)
    message = coco.fails(DiskError)
    assert message.startswith(f"cannot write {coco.out / 'annotations/instances_train2017.json'}: ")
    assert "--runs" not in message


def test_two_calls_at_once_make_one_data_set(coco: Caller, server: FileServer) -> None:
    server.silent_s = [0.1]
    other = Caller(coco.table, coco.out)
    results: dict[str, tuple[Card, bool]] = {}
    threads = [
        threading.Thread(target=lambda name, caller: results.update({name: caller()}), args=pair)
        for pair in (("one", coco), ("two", other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["one"][0] == results["two"][0]
    assert sorted(changed for _, changed in results.values()) == [False, True]
    assert len(server.requests) == 3
    assert any("another process downloads" in line for line in (*coco.lines, *other.lines))


def test_the_command_needs_a_known_name_and_fitting_lists() -> None:
    for words, message in (
        (["fetch", "coco"], "unknown public data set 'coco'"),
        (["fetch", "kitti", "--train", "none.txt"], "give both lists"),
    ):
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, InputError)
        assert message in str(error)


def test_an_unknown_data_set() -> None:
    with pytest.raises(InputError, match="unknown public data set 'coco'; did you mean 'coco2017'"):
        fetch_dataset("coco", Path("x"), print)


def test_the_table_is_complete() -> None:
    assert sorted(PUBLIC_ARCHIVES) == list(DOWNLOADS)
    for name, public in PUBLIC_ARCHIVES.items():
        assert public.layout in LAYOUTS
        assert len({archive.name for archive in public.archives}) == len(public.archives)
        for archive in public.archives:
            assert archive.url.startswith(("http://", "https://")), name
            assert len(archive.sha256) == 64
            assert archive.size > 5_000_000
    voc = " ".join(f"--{split} {lists}" for split, lists in VOC_SPLITS.items())
    assert public_cards()["voc0712"].maker == f"c2d data voc VOCdevkit {voc}"
    coco, card = PUBLIC_ARCHIVES["coco2017"], public_cards()["coco2017"]
    published = {member.rstrip("/") for archive in coco.archives for member in archive.members}
    assert published == {part for split in card.splits.values() for part in (split.annotations, split.images)}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_missing_data_set_names_the_command(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"`c2d data fetch {name} --out {tmp_path / name}` downloads it"):
        load_card(name, tmp_path)
