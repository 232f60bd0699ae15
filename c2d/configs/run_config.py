"""The config of a run folder: written as config.json and config.py, verified and read without executing anything.

config.json is what c2d reads (`c2d.configs.stored_config`); config.py is the same config for mmdet's own tools. The
digests of both are in status.json while the run is trained (`config_sha256`), and in result.json with that of the
exported weights (`sha256`) when it is done. The run folders of earlier versions have config.py alone and no digests.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.configs.config_literals import config_source, parse_config_source
from c2d.configs.stored_config import decode, encode
from c2d.core.errors import InputError
from c2d.core.json_values import check_format, parse_json
from c2d.core.regular_file import FormatError, Problem, error_text, file_state, read_bytes
from c2d.core.run_folder import RunFolder, atomic_write_bytes, read_json

if TYPE_CHECKING:
    from mmengine import Config

FORMAT = 1
MAX_BYTES = 16 * 2**20
"""A larger config is none of ours; those of the shipped students have 4 kB."""


def write_run_config(folder: RunFolder, student: Config, train: Config) -> None:
    """Write config.json, config.py and train_config.py of a run, with the digests of the first two in status.json.

    Raises:
        InputError: a value of a config is not plain, such as a class.
    """
    values = encode(student.to_dict())
    contents = {
        folder.config_json: (json.dumps({"format": FORMAT, "config": values}, indent=1) + "\n").encode(),
        folder.config: config_source(decode(values)).encode(),
    }
    known = _recorded(folder.read_status(), "config_sha256", folder.status)
    # First the digests, of the last attempt too: this process may be killed between the files.
    digests = {
        path.name: [*known.get(path.name, [])[-1:], hashlib.sha256(data).hexdigest()] for path, data in contents.items()
    }
    folder.write_status("running", config_sha256=digests)
    for path, data in contents.items():
        atomic_write_bytes(path, data)
    atomic_write_bytes(folder.train_config, config_source(decode(encode(train.to_dict()))).encode())


def verify_before_training(folder: RunFolder) -> None:
    """Compare the configs of a run that continues with the digests that its last attempt recorded.

    Raises:
        InputError: one of them was changed since.
    """
    recorded = _recorded(folder.read_status(), "config_sha256", folder.status)
    for path in (folder.config_json, folder.config):
        if path.name in recorded and os.path.lexists(path) and _sha256(path) not in recorded[path.name]:
            raise InputError(
                f"{path} is not as the last attempt wrote it; nothing of it was executed: remove it, and it is written "
                "again from spec.json"
            )


def file_digests(folder: RunFolder, weights: Path) -> dict[str, str]:
    """Return {name: sha256} of a finished run's configs and weights, for result.json."""
    return {path.name: _sha256(path) for path in (folder.config_json, folder.config, weights)}


def verify_run_files(folder: RunFolder) -> None:
    """Compare configs and weights of a run with the digests in its result.json, or in status.json before it has one.

    Raises:
        InputError: a file is missing or was changed since the run wrote it.
    """
    for source, key in ((folder.result, "sha256"), (folder.status, "config_sha256")):
        recorded = _recorded(read_json(source) if os.path.lexists(source) else {}, key, source)
        for name, digests in recorded.items():
            path = folder.path / Path(name).name
            if _sha256(path) not in digests:
                raise InputError(
                    f"{path} is not the file that the run wrote (its sha256 differs from {source.name}); nothing of it "
                    "was executed: restore the file, or train the run again in a new store"
                )
        if recorded:
            return


def read_run_config(folder: RunFolder) -> Config:
    """Return the config of a finished run, after its files were verified. Nothing is executed.

    Raises:
        InputError: a file is missing, was changed, or is no config that c2d wrote.
    """
    from mmengine import Config

    verify_run_files(folder)
    path = folder.config_json if os.path.lexists(folder.config_json) else folder.config
    try:
        return Config(_values(path) if path == folder.config_json else read_literal_config(path))
    except RecursionError:
        raise InputError(f"{path} is not a config that c2d wrote (nested too deeply); restore the file") from None


def read_literal_config(path: Path) -> dict[str, Any]:
    """Return the values of a .py file that c2d wrote, without executing it.

    Raises:
        InputError: missing, or not literal.
    """
    try:
        return parse_config_source(_read(path).decode(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a config that c2d wrote ({error_text(error)}); restore the file") from None


def run_of_config(path: Path) -> RunFolder | None:
    """Return the run folder whose config `path` is, so that it is read without executing it; None for other files."""
    folder = RunFolder(path.resolve().parent)
    return folder if path.name in (folder.config.name, folder.config_json.name) and folder.spec.is_file() else None


def _values(path: Path) -> dict[str, Any]:
    try:
        values = decode(check_format(parse_json(_read(path))).get("config"))
    except (FormatError, ValueError) as error:
        raise InputError(f"{path} {error_text(error)}; restore the file") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} has no object `config`; restore the file")
    return values


def _read(path: Path) -> bytes:
    with _named(path):
        return read_bytes(path, most=MAX_BYTES)


def _sha256(path: Path) -> str:
    with _named(path):
        if (state := file_state(path)) is None or isinstance(state, Problem):
            raise FormatError("is missing" if state is None else state.message)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in errors of the body."""
    try:
        yield
    except FormatError as error:  # missing, a folder, too large
        raise InputError(f"{path} {error}; restore the file, or train the run again in a new store") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}; check its permissions") from None


def _recorded(value: Any, key: str, path: Path) -> dict[str, list[str]]:
    """{name: digests} under a key of status.json or result.json; {} where it has none."""
    found = value.get(key) if isinstance(value, dict) else None
    if found is None:
        return {}
    if isinstance(found, dict) and all(isinstance(digest, str | list) for digest in found.values()):
        return {name: [digest] if isinstance(digest, str) else digest for name, digest in found.items()}
    raise InputError(f"{key} of {path} is {str(found)[:60]!r} where digests by file belong; restore the file")
