"""Download a published file over HTTP. A download that broke off continues where it ended, in a later call as well.

The next request asks for the rest (Range) of that very file (If-Range), so that a server whose file has changed, or
that knows no ranges, sends the whole one. What arrived is compared with the published size and sha256 before it gets
its name. Another file is set aside under a name of its own.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from c2d.core.disk import DiskError, disk_error
from c2d.core.download.download_lock import download_lock
from c2d.core.download.http_connection import Answer, BrokenOff, by_hand, read_chunk, request_file
from c2d.core.download.partial_file import PartialFile
from c2d.core.download.remote_file import PrintLine, RemoteFile, compare, size_text
from c2d.core.errors import RunError

CHUNK = 2**20


@dataclass(frozen=True)
class Timing:
    """Seconds and numbers of a download.

    Attributes:
        silence_s: a connection without a byte for this long is closed.
        tries: attempts in a row without a new byte, then the download has failed.
        wait_s: before the second attempt; doubled before each later one.
        longest_wait_s: of one wait, also where the server asks for a longer one.
        progress_s: between two lines about progress.
    """

    silence_s: float = 60.0
    tries: int = 5
    wait_s: float = 2.0
    longest_wait_s: float = 60.0
    progress_s: float = 10.0


DEFAULT = Timing()


def download(
    remote: RemoteFile, folder: Path, print_line: PrintLine, move: str, timing: Timing = DEFAULT
) -> tuple[Path, str]:
    """Return (path, sha256) of a published file in a folder, after it was downloaded if it is not there.

    Two processes may ask for the same file at once: the second one waits for the first.

    Args:
        remote: the file.
        folder: its place; made where it does not exist.
        print_line: called with lines about progress.
        move: how a person chooses another folder, for the error of a disk.
        timing: of the connection.

    Raises:
        RunError: it cannot be downloaded, what arrived is another file, or the one that was there is.
        DiskError: the folder cannot be written.
    """
    path = folder / remote.name
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with download_lock(path, print_line):
                if not path.is_file():
                    return path, _Download(remote, path, print_line, move, timing).complete()
        found = compare(path, remote)
    except OSError as error:
        raise disk_error(Path(error.filename or path), error, move) from None
    if found.difference:
        raise RunError(
            f"{path} is not the published file: {found.difference}; remove it, and call the same command again", "data"
        )
    return path, found.sha256


@dataclass(frozen=True)
class _Download:
    """A download under its lock; the arguments of `download`, and the final path."""

    remote: RemoteFile
    path: Path
    print_line: PrintLine
    move: str
    timing: Timing

    def complete(self) -> str:
        """Download what is missing, verify the file, give it its name; return its sha256."""
        part, remote, timing, failed = PartialFile(self.path), self.remote, self.timing, 0
        while True:
            before = part.size
            try:
                self._transfer(part)
                break
            except BrokenOff as broken:
                failed = 1 if part.size > before else failed + 1
                if failed >= timing.tries:
                    raise RunError(
                        f"the download of {remote.url} broke off {failed} times without a new byte ({broken}); "
                        f"{size_text(part.size)} are kept in {part.path}; call the same command again to continue"
                        f"{by_hand(remote)}"
                    ) from None
                if broken.part_is_useless:
                    part.remove()
                wait_s = min(max(broken.wait_s, timing.wait_s * 2 ** (failed - 1)), timing.longest_wait_s)
                self.print_line(f"{remote.name}: {broken}; continuing at {size_text(part.size)} in {wait_s:g} s")
                time.sleep(wait_s)
        if part.size >= 2**30:
            self.print_line(f"{remote.name}: all {size_text(part.size)} are here; computing the sha256")
        found = compare(part.path, remote)
        if found.difference:
            aside = self.path.with_name(f"{self.path.name}.wrong-{found.sha256[:8] or 'size'}")
            os.replace(part.path, aside)
            part.remove()
            raise RunError(
                f"{remote.url} is not the published file: {found.difference}; what arrived is kept as {aside}; remove "
                f"that, and call the same command again to download it anew{by_hand(remote)}",
                "data",
            )
        os.replace(part.path, self.path)
        part.remove()
        return found.sha256

    def _transfer(self, part: PartialFile) -> None:
        """Append to the part until it is complete.

        Raises:
            BrokenOff: it ended early, and may be continued.
            RunError: it cannot be continued.
        """
        remote, validator = self.remote, part.validator(self.remote.url)
        # Without a validator or a sha256, nothing would tell whether the rest belongs to the same file.
        have = part.size if validator or remote.sha256 else 0
        if have and have == remote.size:
            return
        answer = request_file(remote, have, validator, self.timing.silence_s)
        with answer.response:
            total = answer.total or remote.size
            if have and not answer.start:
                self.print_line(f"{remote.name}: the server sends the whole file again: it has changed, or no ranges")
            if remote.size not in (None, total):
                kind = answer.response.headers.get_content_type()
                raise RunError(
                    f"{remote.url} has {total:,} bytes ({kind}), the published file {remote.size:,}: it was replaced, "
                    f"or a proxy answers in its place{by_hand(remote)}"
                )
            self._check_space((total or 0) - answer.start)
            if not answer.start:
                part.start(remote.url, answer.response.headers)
            self._append(answer, part, total)
        if total is not None and part.size < total:
            raise BrokenOff("the connection was closed early")

    def _append(self, answer: Answer, part: PartialFile, total: int | None) -> None:
        """Append the body of an answer to the part.

        Raises:
            BrokenOff: the connection broke, or was silent for too long.
            RunError: there are more bytes than there should be.
        """
        begun = shown = time.monotonic()
        have, silence_s = answer.start, self.timing.silence_s
        with part.path.open("ab") as stream:
            while chunk := read_chunk(answer, CHUNK, silence_s):
                stream.write(chunk)
                have += len(chunk)
                if total is not None and have > total:
                    raise RunError(f"{self.remote.url} sends more than the {total:,} bytes of the published file")
                now = time.monotonic()
                if now - shown >= self.timing.progress_s:
                    shown = now
                    self.print_line(_progress(self.remote.name, have, total, (have - answer.start) / (now - begun)))

    def _check_space(self, wanted: int) -> None:
        folder = self.path.parent
        free = shutil.disk_usage(folder).free
        if wanted > free:
            raise DiskError(
                f"{folder} has {size_text(free)} free, and {size_text(wanted)} of {self.remote.name} are still to "
                f"come; free some space there, or {self.move}, then call the same command again",
                True,
            )


def _progress(name: str, have: int, total: int | None, rate: float) -> str:
    speed = f"{rate / 2**20:.1f} MiB/s"
    if not total:
        return f"{name}: {size_text(have)}, {speed}"
    left = f", {(total - have) / rate / 60:.0f} min left" if rate else ""
    return f"{name}: {size_text(have)} of {size_text(total)} ({100 * have / total:.0f} %), {speed}{left}"
