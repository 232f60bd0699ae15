"""Archives that were made for a test: good ones, and those that would write elsewhere."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from c2d.core.disk import DiskError
from c2d.core.errors import RunError
from c2d.data.fetch import unpack as unpack_module
from c2d.data.fetch.unpack import unpack

FILES = {"a/1.jpg": b"one" * 9, "a/b/2.jpg": b"two", "other/3.jpg": b"three", "list.txt": b"1\n2\n"}


def make_zip(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a")
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


def make_tar(path: Path, files: dict[str, bytes], special: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind in (special or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return path


@pytest.fixture(params=["zip", "tar"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make = make_zip if request.param == "zip" else make_tar
    return make(tmp_path / f"data.{request.param}", FILES)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_wanted_members_are_written(archive: Path, out: Path) -> None:
    done = unpack(archive, out, ("a/", "list.txt"), print)
    assert contents(out) == {name: FILES[name] for name in ("a/1.jpg", "a/b/2.jpg", "list.txt")}
    assert done == (3, 27 + 3 + 4, 3)
    assert unpack(archive, out, ("a/", "list.txt"), print).written == 0


def test_a_killed_call_is_continued(archive: Path, out: Path) -> None:
    unpack(archive, out, ("a/",), print)
    (out / "a/1.jpg").write_bytes(b"on")  # killed while writing
    (out / "a/b/2.jpg").unlink()
    assert unpack(archive, out, ("a/", "list.txt"), print).written == 3
    assert contents(out) == {name: FILES[name] for name in ("a/1.jpg", "a/b/2.jpg", "list.txt")}


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "a//evil", "a\\evil", "C:evil", "a/\x07evil", "a/./evil"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, out: Path, name: str, kind: str) -> None:
    make = make_zip if kind == "zip" else make_tar
    bad = make(tmp_path / f"bad.{kind}", {"a/good": b"1", name: b"2"})
    with pytest.raises(RunError, match="is not unpacked: its name leads out of the folder; nothing of the archive"):
        unpack(bad, out, ("a/",), print)
    assert contents(tmp_path) == {bad.name: bad.read_bytes()}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, out: Path, kind: bytes) -> None:
    bad = make_tar(tmp_path / "bad.tar", {"a/good": b"1"}, {"a/link": kind})
    with pytest.raises(RunError, match="'a/link' that is not unpacked: it is a link or a device"):
        unpack(bad, out, ("a/",), print)
    assert not contents(out)


def test_links_in_a_zip_are_refused(tmp_path: Path, out: Path) -> None:
    bad = make_zip(tmp_path / "bad.zip", {"a/good": b"1"}, {"a/link": "/etc/passwd"})
    with pytest.raises(RunError, match="it is a link or a device"):
        unpack(bad, out, ("a/",), print)
    assert not contents(out)


def test_a_link_in_the_folder_is_not_written_through(archive: Path, out: Path, tmp_path: Path) -> None:
    (out / "a").mkdir()
    (out / "a/1.jpg").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        unpack(archive, out, ("a/",), print)
    assert not (tmp_path / "target").exists()


def test_a_missing_member_is_another_archive(archive: Path, out: Path) -> None:
    with pytest.raises(RunError, match="has no c/; it is another archive"):
        unpack(archive, out, ("a/", "c/"), print)
    assert not contents(out)


def test_a_damaged_archive_is_one_line(archive: Path, out: Path) -> None:
    content = archive.read_bytes()
    for damaged in (content[: len(content) // 3], b"", b"<html>"):
        archive.write_bytes(damaged)
        with pytest.raises(RunError) as info:
            unpack(archive, out, ("a/",), print)
        assert f"{archive} is damaged (" in str(info.value)
        assert "remove it, and call the same command again" in str(info.value)


def test_a_changed_byte_in_a_zip_is_found(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123406789"))
    with pytest.raises(RunError, match=r"is damaged .*CRC"):
        unpack(path, out, ("a/",), print)


def test_a_name_twice_is_refused(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        for content in (b"1", b"22"):
            info = tarfile.TarInfo("a/1")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(RunError, match="'a/1' that is not unpacked: it is there twice"):
        unpack(path, out, ("a/",), print)


def test_the_space_is_checked_before(archive: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(out)._replace(free=20)
    monkeypatch.setattr(unpack_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskError, match=r"has 20 bytes free, and data\.(zip|tar) needs 30 bytes unpacked"):
        unpack(archive, out, ("a/",), print)
    assert not os.listdir(out)
