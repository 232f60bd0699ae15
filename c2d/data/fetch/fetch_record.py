"""`fetched.json`: which archives are unpacked in the folder of a data set, so that a later call has nothing to do."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from c2d.core.json_values import SMALL_BYTES
from c2d.core.regular_file import FormatError, read_bytes
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import Card
from c2d.data.card_lookup import find_card_file, load_card
from c2d.data.fetch.public_archives import Archive, PublicArchives

RECORD = "fetched.json"


class FetchedArchive(BaseModel):
    """One archive that is unpacked.

    Attributes:
        url: where it was published.
        sha256: of the archive (hex).
        files: number of unpacked files.
        size: of them in bytes.
    """

    model_config = ConfigDict(extra="forbid")
    url: str
    sha256: str
    files: int
    size: int


class FetchRecord(BaseModel):
    """The content of `fetched.json`: {name of an archive: what was unpacked}."""

    model_config = ConfigDict(extra="forbid")
    format: int = 1
    archives: dict[str, FetchedArchive] = {}


class FetchState(NamedTuple):
    """What a folder has of a data set.

    Attributes:
        record: of the archives that are unpacked; a damaged one counts as none.
        missing: archives that are not unpacked, in their order.
        card: of the data set; None where there is none yet.
    """

    record: FetchRecord
    missing: list[Archive]
    card: Card | None

    @property
    def is_complete(self) -> bool:
        """Whether nothing has to be done."""
        return self.card is not None and not self.missing


def fetch_state(name: str, public: PublicArchives, out: Path) -> FetchState:
    """Return what a folder has, without reading annotations or images.

    A card of that name which another command made counts as complete where its files exist.

    Args:
        name: of the data set.
        public: its archives.
        out: the folder.

    Raises:
        InputError: its card is damaged.
    """
    record = read_record(out)
    loaded = load_card(str(out)) if find_card_file(str(out)) is not None else None
    card = loaded.card if loaded is not None and loaded.card.name == name else None
    missing = [one for one in public.archives if not _is_unpacked(one, record, out)]
    if card is not None and loaded is not None:
        files = [path for split in card.splits for path in (loaded.annotations(split), loaded.images(split))]
        if not all(path.exists() for path in files):
            card = None
        elif not record.archives:  # made by `c2d data check`, from files that were there
            missing = []
    return FetchState(record, missing, card)


def read_record(out: Path) -> FetchRecord:
    """Return the record of a folder; an empty one where there is none, or it is damaged."""
    try:
        return FetchRecord.model_validate_json(read_bytes(out / RECORD, most=SMALL_BYTES))
    except (OSError, FormatError, ValidationError):
        return FetchRecord()


def write_record(out: Path, record: FetchRecord) -> None:
    """Write the record of a folder."""
    atomic_write_json(out / RECORD, record.model_dump())


def _is_unpacked(archive: Archive, record: FetchRecord, out: Path) -> bool:
    known = record.archives.get(archive.name)
    same = known is not None and archive.sha256 in ("", known.sha256)
    return same and all((out / member).exists() for member in archive.members)
