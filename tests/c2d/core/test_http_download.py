"""Downloads from a server on this machine that breaks off, changes its file, ignores ranges, or answers nonsense."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from c2d.core.disk import DiskError
from c2d.core.download import http_connection, http_download
from c2d.core.download.http_download import Timing, download
from c2d.core.download.remote_file import RemoteFile, size_text
from c2d.core.errors import RunError
from tests.c2d.file_server import FileServer, file_server

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FAST = Timing(silence_s=0.3, tries=3, wait_s=0.01, longest_wait_s=0.02)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server(file=CONTENT) as started:
        yield started


class Result(NamedTuple):
    content: bytes
    lines: list[str]


def get(server: FileServer, folder: Path, timing: Timing = FAST, **facts: Any) -> Result:
    """Download /file as `data.zip`; facts are those of RemoteFile."""
    lines: list[str] = []
    known: dict[str, Any] = {"size": len(CONTENT), "sha256": SHA256} | facts
    remote = RemoteFile(f"{server.address}/file", "data.zip", **known)
    path, sha256 = download(remote, folder, lines.append, "give another folder", timing)
    content = path.read_bytes()
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert sorted(os.listdir(folder)) in (["data.zip"], [".data.zip.lock", "data.zip"])
    return Result(content, lines)


def failure(server: FileServer, folder: Path, **facts: Any) -> str:
    with pytest.raises(RunError) as info:
        get(server, folder, **facts)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_a_file_is_downloaded_once(server: FileServer, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert get(server, folder).content == CONTENT
    assert get(server, folder).content == CONTENT
    assert server.requests == [("/file", None, None)]


def test_what_broke_off_is_continued(server: FileServer, tmp_path: Path) -> None:
    server.break_after = [1000, 2000]
    result = get(server, tmp_path)
    assert result.content == CONTENT
    assert server.requests == [
        ("/file", None, None),
        ("/file", "bytes=1000-", '"one"'),
        ("/file", "bytes=3000-", '"one"'),
    ]
    assert len([line for line in result.lines if "closed early; continuing at" in line]) == 2


def test_a_later_call_continues(server: FileServer, tmp_path: Path) -> None:
    server.break_after, server.answers = [1000], []
    server.before = lambda s: s.answers.append((503, {})) if len(s.requests) > 1 else None
    message = failure(server, tmp_path)
    assert "broke off 3 times without a new byte (the server answered 503 " in message
    assert "1000 bytes are kept" in message
    assert "call the same command again to continue" in message
    server.before = None
    assert get(server, tmp_path).content == CONTENT
    assert server.requests[-1] == ("/file", "bytes=1000-", '"one"')


def test_a_server_without_ranges_sends_all_again(server: FileServer, tmp_path: Path) -> None:
    server.break_after, server.ranges = [1000], False
    result = get(server, tmp_path)
    assert result.content == CONTENT
    assert any("sends the whole file again" in line for line in result.lines)


def test_a_file_that_changed_is_not_mixed(server: FileServer, tmp_path: Path) -> None:
    new = CONTENT[::-1]

    def change(s: FileServer) -> None:
        if len(s.requests) == 2:
            s.files["/file"], s.etag = new, '"two"'

    server.break_after, server.before = [1000], change
    assert get(server, tmp_path, sha256="").content == new


def test_a_part_without_a_sign_of_its_file_is_not_used(server: FileServer, tmp_path: Path) -> None:
    server.etag, server.break_after = "", [1000]
    assert get(server, tmp_path, sha256="", size=None).content == CONTENT
    assert [request[1] for request in server.requests] == [None, None]


def test_a_weak_etag_is_no_sign(server: FileServer, tmp_path: Path) -> None:
    server.etag, server.break_after = 'W/"one"', [1000]
    assert get(server, tmp_path).content == CONTENT  # the sha256 tells whether it is one file
    assert [request[1:] for request in server.requests] == [(None, None), ("bytes=1000-", None)]


def test_a_wrong_file_is_set_aside(server: FileServer, tmp_path: Path) -> None:
    wrong = CONTENT[:-1] + b"x"
    server.files["/file"] = wrong
    message = failure(server, tmp_path, by_hand="ask at the desk")
    aside = tmp_path / f"data.zip.wrong-{hashlib.sha256(wrong).hexdigest()[:8]}"
    assert aside.read_bytes() == wrong
    assert {path.name for path in tmp_path.iterdir()} - {".data.zip.lock"} == {aside.name}
    for part in ("is not the published file: its sha256 begins with", str(aside), "again", "or ask at the desk"):
        assert part in message
    server.files["/file"] = CONTENT
    aside.unlink()
    assert get(server, tmp_path).content == CONTENT


def test_another_size_ends_before_the_body(server: FileServer, tmp_path: Path) -> None:
    server.files["/file"] = b"<html>please log in</html>"
    assert "has 26 bytes (text/plain), the published file 10,240: it was replaced" in failure(server, tmp_path)


def test_a_body_without_a_length(server: FileServer, tmp_path: Path) -> None:
    server.chunked = True
    assert get(server, tmp_path, size=None).content == CONTENT
    server.files["/file"] = CONTENT * 2
    assert "sends more than the 10,240 bytes" in failure(server, tmp_path / "other", sha256="")


def test_a_longer_part_is_dropped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).content == CONTENT


def test_a_damaged_record_is_ignored(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:500])
    (tmp_path / "data.zip.part.json").write_text("{")
    assert get(server, tmp_path).content == CONTENT
    assert server.requests == [("/file", "bytes=500-", None)]


def test_a_wrong_range_is_not_appended(server: FileServer, tmp_path: Path) -> None:
    server.break_after = [1000]
    server.before = lambda s: (
        s.answers.append((206, {"Content-Range": "bytes 0-9/10"})) if len(s.requests) == 2 else None
    )
    assert get(server, tmp_path).content == CONTENT


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_final(server: FileServer, tmp_path: Path, status: int) -> None:
    server.answers = [(status, {})]
    message = failure(server, tmp_path, by_hand="download it by hand from SITE")
    assert f"/file: the server answered {status} " in message
    assert message.endswith("; or download it by hand from SITE")
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.answers = [(503, {"Retry-After": "7"}), (429, {})]
    result = get(server, tmp_path)
    assert result.content == CONTENT
    assert any("503 Service Unavailable; continuing at 0 bytes in 0.02 s" in line for line in result.lines)


def test_a_silent_server_is_left(server: FileServer, tmp_path: Path) -> None:
    server.silent_s = [30.0]
    started = time.monotonic()
    result = get(server, tmp_path)
    assert result.content == CONTENT
    assert any("no byte for 0.3 s" in line for line in result.lines)
    assert time.monotonic() - started < 15


def test_a_slow_server_shows_progress(server: FileServer, tmp_path: Path) -> None:
    server.silent_s = [0.05]
    lines = get(server, tmp_path, Timing(progress_s=0.01)).lines
    assert any(line.startswith("data.zip: 10240 bytes of 10240 bytes (100 %), ") for line in lines)


def test_a_redirection_is_followed_to_http_alone(server: FileServer, tmp_path: Path) -> None:
    server.files["/other"] = CONTENT
    server.answers = [(302, {"Location": f"{server.address}/other"})]
    assert get(server, tmp_path / "a").content == CONTENT
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/file"):
        server.answers = [(302, {"Location": target})]
        assert "edirection to" in failure(server, tmp_path / "b")


def test_an_address_that_is_no_http(tmp_path: Path) -> None:
    remote = RemoteFile("file:///etc/hostname", "data.zip")
    with pytest.raises(RunError, match="cannot connect to file:///etc/hostname: unknown url type: file"):
        download(remote, tmp_path, print, "", FAST)


def test_no_network_is_said_at_once(tmp_path: Path) -> None:
    with file_server(file=CONTENT) as server:
        address = server.address
    remote = RemoteFile(f"{address}/file", "data.zip")
    with pytest.raises(RunError) as info:
        download(remote, tmp_path, print, "", Timing())
    for part in (f"cannot connect to {address}/file: ", "on a machine with a network", "https_proxy"):
        assert part in str(info.value)


def test_a_proxy_of_the_environment_is_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["http://c2d.invalid/file"] = CONTENT  # a proxy gets the whole address
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    path, _ = download(RemoteFile("http://c2d.invalid/file", "data.zip", len(CONTENT), SHA256), tmp_path, print, "")
    assert path.read_bytes() == CONTENT


def test_two_downloads_of_one_file_make_one(server: FileServer, tmp_path: Path) -> None:
    server.silent_s = [0.1]
    results: list[Result] = []
    threads = [threading.Thread(target=lambda: results.append(get(server, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.content for result in results] == [CONTENT, CONTENT]
    assert len(server.requests) == 1
    assert sum("another process downloads" in line for result in results for line in result.lines) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: Any) -> bytes:
        raise OSError(number, os.strerror(number), str(tmp_path / "data.zip.part"))

    monkeypatch.setattr(http_download, "read_chunk", full)
    with pytest.raises(DiskError) as info:
        get(server, tmp_path)
    assert info.value.is_full
    assert f"cannot write {tmp_path / 'data.zip.part'}: {os.strerror(number)} (" in str(info.value)
    assert "give another folder, then call the same command again" in str(info.value)


def test_too_little_space_is_found_before(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(http_download.shutil, "disk_usage", lambda path: usage)
    assert "has 10000 bytes free, and 10240 bytes of data.zip are still to come" in failure(server, tmp_path)
    assert not (tmp_path / "data.zip.part").exists()


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"cannot write .*/file/folder: Not a directory; .*give another folder"):
        get(server, tmp_path / "file" / "folder")


def test_a_file_that_is_another_one_is_left_alone(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"mine")
    message = failure(server, tmp_path)
    assert "data.zip is not the published file: it has 4 bytes instead of 10,240; remove it" in message
    assert (tmp_path / "data.zip").read_bytes() == b"mine"
    assert not server.requests


def test_retry_after_may_be_a_date() -> None:
    assert http_connection._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert http_connection._retry_after("soon") == 0.0


def test_sizes() -> None:
    assert [size_text(size) for size in (19336861798, 5601213, 900)] == ["18.0 GiB", "5.3 MiB", "900 bytes"]
