"""Data sets: those with public archives are downloaded; of the others it is said what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from c2d.core.download.remote_file import PrintLine
from c2d.core.errors import InputError, RunError
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import find_card, find_card_file, verify_card
from c2d.data.coco_file import read_coco
from c2d.data.fetch.fetch_dataset import fetch_dataset
from c2d.data.fetch.public_archives import PUBLIC_ARCHIVES, PublicArchives
from sweeps.prefetch.needs import DatasetName, Item

KIND = "data set"


def missing_public(names: Iterable[str], data: Path, table: dict[str, PublicArchives] = PUBLIC_ARCHIVES) -> list[str]:
    """Return the data sets with public archives that have no card in the data root, sorted.

    Args:
        names: of data sets.
        data: root of the data cards.
        table: {name: archives}.
    """
    return sorted(name for name in set(names) & set(table) if find_card_file(name, data) is None)


def fetched_item(
    name: str, data: Path, print_line: PrintLine, table: dict[str, PublicArchives] = PUBLIC_ARCHIVES
) -> Item:
    """Download a public data set into the data root.

    Args:
        name: a key of the table.
        data: root of the data cards.
        print_line: called with lines about progress.
        table: {name: archives}.

    Returns:
        Its row: downloaded, or missing with the reason.
    """
    try:
        fetch_dataset(name, data / name, print_line, table=table)
    except (InputError, RunError) as error:
        return Item(KIND, name, "missing", _packed_size(name, table), str(error))
    return Item(KIND, name, "downloaded", None, str(data / name))


def planned_item(
    name: str, data: Path, print_line: PrintLine, table: dict[str, PublicArchives] = PUBLIC_ARCHIVES
) -> Item:
    """Return the row of a public data set that `fetched_item` would download; the arguments are the same."""
    note = f"`c2d data fetch {name} --out {data / name}` downloads it; see {table[name].site}"
    return Item(KIND, name, "missing", _packed_size(name, table), note)


def dataset_item(dataset: DatasetName, data: Path, runs: Path) -> Item:
    """Compare a data set with its card: the digests of the annotations, and whether every image file exists.

    Args:
        dataset: of specs.
        data: root of the data cards.
        runs: the store, which knows the places of data sets that were given by their path.

    Returns:
        Its row: here, or missing with what is wrong.
    """
    try:
        loaded = find_card(dataset.name, dataset.digest, data, runs)
        verify_card(loaded)
        size = sum(_size_of_split(loaded, split) for split in loaded.card.splits)
    except InputError as error:
        return Item(KIND, dataset.name, "missing", None, str(error))
    except OSError as error:
        return Item(KIND, dataset.name, "missing", None, f"cannot read {error.filename}: {error.strerror}")
    return Item(KIND, dataset.name, "here", size, str(loaded.root))


def _packed_size(name: str, table: dict[str, PublicArchives]) -> int:
    return sum(archive.size for archive in table[name].archives)


def _size_of_split(loaded: LoadedCard, split: str) -> int:
    """Return the bytes of a split's annotations and images.

    Raises:
        InputError: image files are missing.
    """
    file, folder = loaded.annotations(split), loaded.images(split)
    sizes = {
        os.path.relpath(os.path.join(place, name), folder): os.stat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
    }
    wanted = {os.path.normpath(str(image["file_name"])) for image in read_coco(file)["images"]}
    missing = sorted(name for name in wanted - set(sizes) if not os.path.isfile(os.path.join(folder, name)))
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(wanted):,} images of split {split} are missing in {folder} (first: {missing[0]}"
            "); restore them, or get the data set again"
        )
    return file.stat().st_size + sum(sizes.get(name, 0) for name in wanted)
