"""Write a whole archive as one file, `.tar.xz`: the same files give the same bytes.

xz compresses over all files together, so what 300 runs repeat (packages, configs) is stored once; a zip would store it
300 times. Like files lie side by side. ARCHIVE.json is the first member: a reader knows every later name, size and
sha256 before it writes one byte (`c2d.core.archives.unpack_archive`).
"""

from __future__ import annotations

import lzma
import tarfile
from pathlib import Path

from c2d.core.archives.archive_index import INDEX_FILE
from c2d.core.errors import InputError

SUFFIX = ".tar.xz"
PRESET = 6
"""Of xz. Its window of 8 MiB spans the records of hundreds of runs; larger presets gain less than 1 %."""
MAX_UNPACKED_BYTES = 2**33
"""Of all members. A reader takes no more: zeros shrink to a seven-thousandth, so a small file could fill any disk."""


def is_archive_path(path: Path) -> bool:
    """Return whether a path names one file for a whole archive, not a folder."""
    return path.name.endswith(SUFFIX)


def pack(folder: Path, target: Path) -> None:
    """Write the files of an exported folder as one archive file. Times, owners and modes are not stored.

    Args:
        folder: with ARCHIVE.json.
        target: the new file.

    Raises:
        InputError: a name is too long for a tar archive, or the files are larger than a reader takes.
        OSError: the system refuses.
    """
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if sum(sizes.values()) + tarfile.BLOCKSIZE * (2 * len(sizes) + 2) > MAX_UNPACKED_BYTES:
        raise InputError(
            f"the files have more than {MAX_UNPACKED_BYTES // 2**30} GiB, too much for one {SUFFIX} file; export a "
            "folder, or leave weights out with --no-weights"
        )
    with (
        lzma.open(target, "wb", format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, preset=PRESET) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        # Files of one kind side by side: they repeat each other.
        for name in sorted(sizes, key=lambda name: (name != INDEX_FILE, name.rpartition("/")[2], name)):
            info = tarfile.TarInfo(name)  # its other fields are fixed: time 0, owner 0, mode 644
            info.size = sizes[name]
            with (folder / name).open("rb") as source:
                try:
                    archive.addfile(info, source)
                except ValueError as error:
                    raise InputError(f"{name[:200]}: {error} for a {SUFFIX} file; export a folder") from None
