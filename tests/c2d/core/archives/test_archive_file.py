"""One file for an archive: the same bytes for the same files, readable by stock tools, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from c2d.core.archives import archive_file
from c2d.core.archives import unpack_archive as reader
from c2d.core.archives.archive_file import pack
from c2d.core.archives.archive_index import INDEX_FILE, README_FILE
from c2d.core.archives.unpack_archive import unpack_archive
from c2d.core.disk import DiskError
from c2d.core.errors import InputError

RUN = "tiny-0123456789ab-s0"
FILES = {f"{RUN}/spec.json": b"{}\n", f"{RUN}/metrics.jsonl": b"1\n2\n" * 500, "sweeps/tiny.json": b"[]"}
Member = tuple[str, bytes]


def index_of(files: dict[str, bytes]) -> bytes:
    entries = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    names: dict[str, object] = {"sweeps": [], "runs": {}, "missing": {}, "left_out": []}
    return json.dumps({"format": 1, "made_by": "c2d", "made": "", **names, "files": entries}).encode()


def folder_of(place: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in {**files, INDEX_FILE: index_of(files), README_FILE: b"read me"}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def tar_of(members: list[Member], change: Callable[[tarfile.TarInfo], None] = lambda info: None) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name != INDEX_FILE:
                change(info)
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def members_of(files: dict[str, bytes] = FILES) -> list[Member]:
    return [(INDEX_FILE, index_of(files)), *files.items()]


def refused(place: Path, content: bytes) -> str:
    path, out = place / "a.tar.xz", place / "out"
    path.write_bytes(content)
    out.mkdir()
    with pytest.raises(InputError) as found:
        unpack_archive(path, out)
    assert str(found.value).startswith(f"{path} is refused: ")
    assert not any(other.name not in ("a.tar.xz", "out") for other in place.iterdir())
    return str(found.value)


def test_equal_files_make_equal_bytes_whatever_their_times_and_modes(tmp_path: Path) -> None:
    first, second = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", dict(reversed(FILES.items())))
    (second / INDEX_FILE).write_bytes((first / INDEX_FILE).read_bytes())
    for path in second.rglob("*.json"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    for folder in (first, second):
        pack(folder, tmp_path / f"{folder.name}.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()


def test_stock_tar_reads_it_and_it_comes_back_as_it_was(tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "a"), tmp_path / "out"
    pack(source, tmp_path / "a.tar.xz")
    with tarfile.open(tmp_path / "a.tar.xz", "r:xz") as archive:
        members = archive.getmembers()
        assert members[0].name == INDEX_FILE
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in members} == {(0, 0, 0, "", 0o644)}
    out.mkdir()
    assert {*unpack_archive(tmp_path / "a.tar.xz", out).files} == {*FILES}
    for name in (*FILES, INDEX_FILE, README_FILE):
        assert (out / name).read_bytes() == (source / name).read_bytes()


def test_an_archive_of_another_program_with_these_members_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(tar_of(members_of())))
    (tmp_path / "out").mkdir()
    assert {*unpack_archive(tmp_path / "a.tar.xz", tmp_path / "out").files} == {*FILES}


def test_what_files_no_export_writes_is_refused_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(
        (
            "../x.json",
            "/x",
            f"{RUN}/../x",
            f"{RUN}/log.txt",
            "snapshots/x/evil.py",
            "sweeps/a/b.json",
            f".{RUN}/spec.json",
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        message = refused(place, lzma.compress(tar_of(members_of({**FILES, name: b"x"}))))
        assert name in message


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([*FILES.items()], "its first file is not ARCHIVE.json"),
        ([(INDEX_FILE, b"{}"), *FILES.items()], "ARCHIVE.json: names no format"),
        (members_of()[:-1], "sweeps/tiny.json is missing"),
        ([*members_of(), ("sweeps/other.json", b"")], "sweeps/other.json is not listed in ARCHIVE.json"),
        ([*members_of(), ("sweeps/tiny.json", b"[]")], "sweeps/tiny.json is there twice"),
        ([*members_of()[:-1], ("sweeps/tiny.json", b"[1]")], "sweeps/tiny.json has 3 bytes, ARCHIVE.json lists 2"),
        ([*members_of()[:-1], ("sweeps/tiny.json", b"{}")], "(sha256 differs)"),
        (members_of({"sweeps/a.json": b"", "sweeps/a.json/b": b""}), "is no file that an export writes"),
    ],
)
def test_members_that_differ_from_the_index_are_refused(tmp_path: Path, members: list[Member], message: str) -> None:
    assert message in refused(tmp_path, lzma.compress(tar_of(members)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
                                  tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])  # fmt: skip
def test_links_devices_and_extended_headers_are_refused(tmp_path: Path, kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc/passwd"

    assert "is a link, a device or another thing" in refused(tmp_path, lzma.compress(tar_of(members_of(), change)))


@pytest.mark.parametrize("cut", [0, 10, 100, -40, -1])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    refused(tmp_path, lzma.compress(tar_of(members_of()))[:cut])


def test_a_changed_byte_and_appended_data_are_refused(tmp_path: Path) -> None:
    content = lzma.compress(tar_of(members_of()))
    for number, changed in enumerate(
        (content[:60] + bytes([content[60] ^ 1]) + content[61:], content + b"x", content * 2)
    ):
        (tmp_path / str(number)).mkdir()
        refused(tmp_path / str(number), changed)
    padded = lzma.compress(tar_of(members_of()) + b"more" * 128)
    (tmp_path / "more").mkdir()
    assert "something follows" in refused(tmp_path / "more", padded)


def test_a_small_file_with_gigabytes_is_refused_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_UNPACKED_BYTES", 2**20)
    bomb = {**FILES, f"{RUN}/student.pth": bytes(2**21)}
    assert "it holds more than" in refused(tmp_path, lzma.compress(tar_of(members_of(bomb))))
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


def test_a_header_that_asks_for_gigabytes_of_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_MEMORY_BYTES", 2**20)
    assert "is refused" in refused(tmp_path, lzma.compress(tar_of(members_of())))


def test_a_disk_that_is_too_small_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(tar_of(members_of())))
    usage = reader.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(reader.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(DiskError, match="free some space there"):
        unpack_archive(tmp_path / "a.tar.xz", tmp_path)


def test_what_a_reader_would_refuse_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_file, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(InputError, match="export a folder"):
        pack(folder_of(tmp_path / "a"), tmp_path / "a.tar.xz")
    monkeypatch.undo()
    long = {f"{'r' * 160}-0123456789ab-s0/spec.json": b""}
    with pytest.raises(InputError, match="export a folder"):
        pack(folder_of(tmp_path / "b", long), tmp_path / "b.tar.xz")
