"""What is said of a run outside of it: spec, numbers, origin; without paths, users and hosts of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.json_values import read_object
from c2d.core.masking import mask_json
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder, read_json
from c2d.specs.teachers import Teachers, needed_runs

PACKAGES = (
    "torch",
    "torchvision",
    "onedl-mmdetection",
    "onedl-mmengine",
    "onedl-mmcv",
    "mmdet",
    "mmengine",
    "mmcv",
    "timm",
    "numpy",
)
_PATH = re.compile(r"(?<![\w.:/\\<])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+(?P<last>[^\s/\\'\",;)]*)")


@dataclass(frozen=True)
class RunFacts:
    """A finished run of a detector.

    Attributes:
        run: its id.
        spec: content of spec.json.
        result: content of result.json.
        code: version of c2d, commit and packages of the attempt that finished it.
        classes: names of the labels, in order.
        licence: of the weights, an identifier of the hub; "unknown" where none was given.
    """

    run: str
    spec: dict[str, Any]
    result: dict[str, Any]
    code: dict[str, Any]
    classes: tuple[str, ...]
    licence: str

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """{name: parameters} of the distillation methods; empty for a baseline."""
        return {name: dict(values or {}) for item in self.spec.get("method") or [] for name, values in item.items()}

    @property
    def teachers(self) -> dict[str, str]:
        """{role: run} of all runs that the training needed, see `c2d.specs.teachers.needed_runs`."""
        return needed_runs(Teachers.model_validate(self.spec.get("teachers") or {}))


def run_facts(folder: RunFolder, classes: tuple[str, ...], licence: str) -> RunFacts:
    """Read the facts of a run.

    Args:
        folder: finished.
        classes: of its config.
        licence: of the weights.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    spec, result = without_places(read_json(folder.spec)), without_places(read_json(folder.result))
    if not isinstance(spec, dict) or not isinstance(result, dict):
        raise InputError(f"{folder.path}: spec.json or result.json is no object; restore them")
    env = read_object(folder.env)
    attempts = [] if isinstance(env, Problem) else env.get("attempts") or []
    last = attempts[-1] if attempts and isinstance(attempts[-1], dict) else {}
    packages = last.get("packages") or {}
    code = {
        "c2d": last.get("c2d"),
        "commit": (last.get("git") or {}).get("sha"),
        "uncommitted_changes": (last.get("git") or {}).get("dirty"),
        "python": last.get("python"),
        "packages": {name: packages[name] for name in PACKAGES if name in packages},
    }
    return RunFacts(folder.id, spec, result, without_places(code), classes, licence)


def without_places(value: Any) -> Any:
    """Return a JSON value whose texts have no secrets, and of paths of this machine only the last part.

    >>> without_places("read /data/of/anna/zoo.pth")
    'read zoo.pth'
    """
    if isinstance(value, str):
        return _PATH.sub(lambda found: found["last"], str(mask_json(value)))
    if isinstance(value, dict):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    return value


def check_no_places(folder: Path, places: tuple[str, ...]) -> None:
    """Check that no text file of a folder names a place of this machine.

    Args:
        folder: to be given away.
        places: paths, and names of users and hosts; short ones are left out, because words of the text have them.

    Raises:
        InputError: one does.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in (".pth", ".safetensors", ".bin"):
            continue
        content = path.read_bytes()
        for place in places:
            if len(place) >= 6 and re.search(rb"(?<![\w-])" + re.escape(place.encode()) + rb"(?![\w-])", content):
                raise InputError(f"{path.name} would name {place}, a place of this machine; rename what has that name")
