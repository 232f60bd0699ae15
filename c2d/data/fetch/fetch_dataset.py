"""Get a public data set: download its archives, unpack them, make its card. Every step continues an earlier call.

OUT/archives/NAME.zip   while it is downloaded and unpacked
OUT/fetched.json        which archives are unpacked
OUT/card.json           the data set
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from c2d.core.disk import DiskError, disk_error
from c2d.core.download.download_lock import download_lock
from c2d.core.download.http_download import DEFAULT, Timing, download
from c2d.core.download.partial_file import PartialFile
from c2d.core.download.remote_file import PrintLine, RemoteFile, compare, size_text
from c2d.core.errors import InputError, RunError, unknown_name
from c2d.data.card import Card
from c2d.data.fetch.fetch_record import RECORD, FetchedArchive, FetchRecord, fetch_state, write_record
from c2d.data.fetch.public_archives import PUBLIC_ARCHIVES, Archive, PublicArchives
from c2d.data.fetch.published_cards import NO_LISTS, Lists, check_lists, make_published_card
from c2d.data.fetch.unpack import unpack

ARCHIVES = "archives"
MOVE = "give another folder with --out"


@dataclass(frozen=True)
class FetchOptions:
    """How a data set is got.

    Attributes:
        archives: folder with archives that were downloaded by hand, which are used and kept; None: there is none.
        keep: keep the downloaded archives; without it each is removed after it was unpacked.
        lists: of the split, for KITTI.
        timing: of connections.
    """

    archives: Path | None = None
    keep: bool = False
    lists: Lists = NO_LISTS
    timing: Timing = DEFAULT


def fetch_dataset(
    name: str,
    out: Path,
    print_line: PrintLine,
    options: FetchOptions | None = None,
    table: dict[str, PublicArchives] = PUBLIC_ARCHIVES,
) -> tuple[Card, bool]:
    """Return (the card of a data set, whether something had to be done).

    Args:
        name: a key of the table.
        out: folder of the data set; made where it does not exist.
        print_line: called with lines about progress.
        options: None for the defaults.
        table: {name: archives}.

    Raises:
        InputError: an unknown name; the folder has other files; the options do not fit.
        RunError: an archive cannot be downloaded or unpacked, or is another file.
        DiskError: the folder cannot be written, or has too little space.
    """
    options = options or FetchOptions()
    public = archives_of(name, table)
    check_lists(public.layout, options.lists)
    if options.archives is not None and not options.archives.is_dir():
        raise InputError(f"no folder {options.archives}; --archives is the folder of archives that are here already")
    out = out.absolute()
    state = fetch_state(name, public, out)
    if state.card is not None and state.is_complete:
        if options.lists != NO_LISTS:
            raise InputError(
                f"{out} has its card already; `c2d data kitti {out} NEW_FOLDER --train LIST --val LIST` makes a data "
                "set with another split from the same files"
            )
        return state.card, False
    _check_folder(name, out)
    print_line(f"{name}: terms of use: {public.terms}; see {public.site}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with download_lock(out / RECORD, print_line):
            state = fetch_state(name, public, out)  # another process may have done it
            if state.card is not None and state.is_complete:
                return state.card, False
            return _Fetch(name, public, out, print_line, options).complete(state.record, state.missing), True
    except OSError as error:
        raise disk_error(Path(error.filename or out), error, MOVE) from None


def archives_of(name: str, table: dict[str, PublicArchives] = PUBLIC_ARCHIVES) -> PublicArchives:
    """Return the archives of a data set.

    Raises:
        InputError: there is no such data set.
    """
    if name not in table:
        raise unknown_name(
            "public data set", name, table, "others are made with `c2d data voc|kitti|yolo|cvat|imagenet|check`"
        )
    return table[name]


def _check_folder(name: str, out: Path) -> None:
    """Refuse a folder with files that are not of an earlier call.

    Raises:
        InputError: it has them.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; {MOVE}")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names and not names & {RECORD, ARCHIVES, f".{RECORD}.lock"}:
        raise InputError(
            f"{out} holds other files (first: {min(names)}); give a new folder with --out, or, if these are the "
            f"files of {name}, make their card with `c2d data check|voc|kitti`"
        )


@dataclass(frozen=True)
class _Fetch:
    """A call under its lock; the arguments of `fetch_dataset`."""

    name: str
    public: PublicArchives
    out: Path
    print_line: PrintLine
    options: FetchOptions

    def complete(self, record: FetchRecord, missing: list[Archive]) -> Card:
        """Get what is missing, and make the card."""
        self._check_space(missing)
        for archive in missing:
            record = self._get(archive, record)
        folder = self.out / ARCHIVES
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        return make_published_card(self.public.layout, self.out, self.name, self.options.lists, self.print_line)

    def _get(self, archive: Archive, record: FetchRecord) -> FetchRecord:
        """Download and unpack one archive; return the record with it."""
        path, sha256 = self._archive_by_hand(archive) or self._download(archive)
        if not archive.sha256:
            self.print_line(
                f"{archive.name}: no sha256 is published; that of this file is {sha256}, recorded in "
                f"{self.out / RECORD}"
            )
        self.print_line(f"{archive.name}: unpacking into {self.out}")
        done = unpack(path, self.out, archive.members, self.print_line)
        fetched = FetchedArchive(url=archive.url, sha256=sha256, files=done.files, size=done.size)
        record = FetchRecord(archives={**record.archives, archive.name: fetched})
        write_record(self.out, record)
        self.print_line(f"{archive.name}: {done.files:,} files, {size_text(done.size)}")
        if path.parent == self.out / ARCHIVES and not self.options.keep:
            path.unlink()
            path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
        return record

    def _archive_by_hand(self, archive: Archive) -> tuple[Path, str] | None:
        """Return (path, sha256) of an archive in the folder that a person named; None where it is not there.

        Raises:
            RunError: it is another file.
        """
        path = self.options.archives / archive.name if self.options.archives is not None else None
        if path is None or not path.is_file():
            return None
        self.print_line(f"{archive.name}: comparing {path} with the published sha256")
        found = compare(path, _remote(archive))
        if found.difference:
            raise RunError(
                f"{path} is not the published file: {found.difference}; download it again from {self.public.site}",
                "data",
            )
        return path, found.sha256

    def _download(self, archive: Archive) -> tuple[Path, str]:
        by_hand = f"download it by hand ({self.public.site}), and name its folder with --archives"
        remote = _remote(archive, by_hand)
        self.print_line(f"{archive.name}: {size_text(archive.size)} from {archive.url}")
        return download(remote, self.out / ARCHIVES, self.print_line, MOVE, self.options.timing)

    def _check_space(self, missing: list[Archive]) -> None:
        """Check that the archives that are not here fit on the disk, packed and unpacked.

        Raises:
            DiskError: they do not.
        """
        needed = most = 0
        for archive in missing:
            path = self.out / ARCHIVES / archive.name
            by_hand = self.options.archives is not None and (self.options.archives / archive.name).is_file()
            if path.is_file() or by_hand:
                continue  # `unpack` compares the exact size of what is left with the free space
            packed = archive.size - PartialFile(path).size
            most = max(most, needed + packed + archive.unpacked_size)
            needed += archive.unpacked_size + packed * self.options.keep
        free = shutil.disk_usage(self.out).free
        if most > free:
            raise DiskError(
                f"{self.out} has {size_text(free)} free, and {self.name} needs about {size_text(most)} while it is "
                f"unpacked; free some space there, or {MOVE}, then call the same command again",
                True,
            )


def _remote(archive: Archive, by_hand: str = "") -> RemoteFile:
    return RemoteFile(archive.url, archive.name, archive.size, archive.sha256, by_hand)
