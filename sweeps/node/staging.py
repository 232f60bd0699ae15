"""Copy a data set to the node's own disk, once a node; later jobs there use the copy.

Many jobs that read thousands of small files from a shared disk at once slow a cluster down. Staging is optional: if it
fails, the run reads the shared files and prints a warning.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from c2d.core.errors import InputError, first_line
from c2d.core.json_values import SMALL_BYTES, parse_json
from c2d.core.regular_file import read_bytes
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import CARD_FILE, LoadedCard
from c2d.data.card_lookup import find_card, load_card, verify_card
from c2d.data.coco_file import read_coco

STAGED = "staged.json"
COPIERS = 8  # threads; most of the time is waiting for the shared disk


def stage(
    name: str,
    digest: str,
    data: Path,
    target: str,
    print_line: Callable[[str], None] = print,
    runs: Path | None = None,
) -> Path:
    """Return the root from which this node reads a data set: a folder under `target`, or `data` if the copy failed.

    Args:
        data: root of the data cards on the shared disk.
        target: a folder of this node; environment variables and ~ are the node's.
        print_line: called with a line about the copy, or why there is none.
        runs: the store, which knows the places of data sets that were given by their path.

    Raises:
        InputError: the data set is not in `data`, or has changed.
    """
    card = find_card(name, digest, data, runs)
    try:
        return _copy_of(card, _target_folder(target), print_line)
    except (OSError, NotImplementedError, InputError) as error:
        why = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else first_line(error)
        print_line(f"warning: data set {name} is read from {card.root}, not from a copy on this node: {why}")
        return data


def _target_folder(target: str) -> Path:
    place = os.path.expanduser(os.path.expandvars(target))
    if "$" in place:
        raise InputError(f"stage_data is {target}, and a variable of it is not set on this node")
    if not os.path.isabs(place):
        raise InputError(f"stage_data is {target}, which is not an absolute path on this node")
    return Path(place)


def _copy_of(card: LoadedCard, place: Path, print_line: Callable[[str], None]) -> Path:
    """Return the folder of a complete copy, and copy now if there is none.

    The lock is one of the kernel, not a lock file: the disk is local, and a killed job releases it.
    """
    final = place / f"{card.card.name}-{card.card.digest[:16]}"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / f".{final.name}.lock"):
        if _complete(final):
            return final
        # Under the lock no other process writes these: they are of processes that were killed.
        for rest in [final, *place.glob(f".{final.name}.*.part")]:
            shutil.rmtree(rest, ignore_errors=True)
        draft = place / f".{final.name}.{os.getpid()}.part"
        begun = time.monotonic()
        try:
            files, size = _copy(card, draft)
            atomic_write_json(draft / STAGED, {"files": files, "annotations": _sizes(card, draft)})
            verify_card(load_card(str(draft)))  # finds an incomplete copy before the training starts
            os.rename(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        taken = f"{files} files, {size / 2**20:.1f} MiB in {time.monotonic() - begun:.1f} s"
        print_line(f"data set {card.card.name} copied to {final}: {taken}")
    return final


def _complete(final: Path) -> bool:
    """Return whether the copy exists and no file of it was removed, for example by a cleaner of temporary folders.

    Names and sizes are compared here; digests were compared after copying, and are again when the run starts.
    """
    try:
        wanted = parse_json(read_bytes(final / STAGED, most=SMALL_BYTES))
        if _sizes(load_card(str(final)), final) != wanted["annotations"]:
            return False
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return False
    # staged.json itself is not counted.
    return sum(len(names) for _, _, names in os.walk(final)) - 1 == wanted["files"]


def _sizes(card: LoadedCard, root: Path) -> dict[str, int]:
    """Return {annotation file: size in bytes} under `root`."""
    names = sorted({entry.annotations for entry in card.card.splits.values()})
    return {name: (root / name).stat().st_size for name in names}


def _copy(card: LoadedCard, draft: Path) -> tuple[int, int]:
    """Copy card, annotations and their images; return (files, bytes). Files outside its folder are not copied."""
    wanted = {CARD_FILE}
    for entry in card.card.splits.values():
        inside = [path for path in (entry.annotations, entry.images) if not os.path.isabs(path)]
        if entry.annotations in inside:
            wanted.add(entry.annotations)
        if entry.images in inside:
            coco = read_coco(card.root / entry.annotations)
            wanted |= {os.path.join(entry.images, str(image.get("file_name"))) for image in coco["images"]}
    # With ".." a file would be written outside the draft.
    names = sorted(name for name in wanted if ".." not in Path(name).parts)
    for parent in {(draft / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> int | None:
        try:
            shutil.copyfile(card.root / name, draft / name)
        except FileNotFoundError:  # the run itself reports missing images
            return None
        return (draft / name).stat().st_size

    with ThreadPoolExecutor(COPIERS) as pool:
        sizes = [size for size in pool.map(one, names) if size is not None]
    return len(sizes), sum(sizes)
