"""One file of raw latency samples, as `c2d bench latency` writes it.

Format 1 of `<run>/latency/<device>-<digest>.json`, one file for one artefact under one set of conditions:

    {"format": 1,
     "device": "NVIDIA H100 80GB HBM3",
     "conditions": {"backend": "eager", "precision": "fp32", "batch": 1, "input": "300x300", "threads": null,
                    "stage": "end to end", "images": "real", "score_threshold": 0.05, "nms": "in"},
     "launches": [{"samples_ms": [7.91, 7.88, ...]}, ...],      one entry a process, samples in the order taken
     "disturbed": null,                                         or why the samples are not to be trusted
     "artefact": {"sha256": "...", "AP": 0.25},                 what was timed, and its AP in 0-1 (null: not known)
     "flops": 1, "macs": 1, "params": 1,                        of one image; null where they could not be counted
     "memory": {"inference_mib": 90.5, "training_mib": null},   peaks beyond the imported packages; null: not measured
     "env": {...}}                                              versions and machine: one attempt of env.json

`conditions` may have more keys; values are text, numbers, truth values or null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.json_values import items, number, optional, read_object, required, text, type_name
from c2d.core.regular_file import FormatError, Problem, printable
from c2d.core.run_folder import LATENCY_FOLDER

if TYPE_CHECKING:
    import numpy as np

COUNTS = ("flops", "macs", "params")
MEMORY = ("inference_mib", "training_mib")
SOFTWARE = ("torch", "torchvision", "mmdet", "onedl-mmdetection", "mmcv", "mmcv-lite", "onedl-mmcv", "onnxruntime",
            "onnxruntime-gpu", "tensorrt")  # fmt: skip
"""Packages whose version can change a time."""


@dataclass(frozen=True)
class Measurement:
    """One latency file.

    Attributes:
        run: id of the run.
        path: the file.
        conditions: {device, and every condition: as text}.
        launches: one array (N,) of float64 for each process: its samples in ms.
        disturbed: why the samples are not to be trusted; "" where they are.
        ap: AP of the timed artefact, 0-1; NaN where it is unknown.
        counts: {one of COUNTS: number, NaN where not counted}.
        memory: {one of MEMORY: MiB, NaN where not measured}.
        versions: {python and the packages of `SOFTWARE`: version}, as far as they were recorded.
    """

    run: str
    path: Path
    conditions: dict[str, str]
    launches: list[np.ndarray]
    disturbed: str
    ap: float
    counts: dict[str, float]
    memory: dict[str, float]
    versions: dict[str, str]


def read_latency_file(path: Path, run: str = "") -> Measurement | Problem:
    """Read one latency file, or return a Problem with the reason why it cannot be used."""
    value = read_object(path)
    if isinstance(value, Problem):
        return value
    try:
        return _measurement(path, run, value)
    except FormatError as error:
        return Problem(path, f"cannot be used: {error}")


def latency_files(runs: Path, run: str, problems: list[Problem]) -> list[Measurement]:
    """Read all latency files of a run that can be used, by name.

    Args:
        runs: the store.
        run: id of the run.
        problems: gets the reasons why files cannot be used.
    """
    try:
        paths = sorted(path for path in (runs / run / LATENCY_FOLDER).iterdir() if path.suffix == ".json")
    except OSError:
        return []
    found = [read_latency_file(path, run) for path in paths if not path.name.startswith(".")]
    problems += [one for one in found if isinstance(one, Problem)]
    return [one for one in found if isinstance(one, Measurement)]


def _measurement(path: Path, run: str, value: Mapping[str, Any]) -> Measurement:
    import numpy as np

    device = text(required(value, "device"), "device")
    given = required(value, "conditions")
    if not device:
        raise FormatError("device is empty")
    if not isinstance(given, dict):
        raise FormatError(f"conditions is {type_name(given)} where an object belongs")
    launches = []
    for index, launch in enumerate(items(required(value, "launches"), "launches")):
        name = f"launches[{index}].samples_ms"
        samples = [number(one, name, 0) for one in items(required(launch, "samples_ms"), name)]
        if not samples or any(not one for one in samples):
            raise FormatError(f"{name} holds {'nothing' if not samples else 'a sample that is no time'}")
        launches.append(np.array(samples, dtype=np.float64))
    if not launches:
        raise FormatError("launches is empty")
    disturbed = optional(value, "disturbed")
    if disturbed is not None and not isinstance(disturbed, str):
        disturbed = "no reason given" if disturbed is not False else ""
    ap = number(optional(value, "artefact", "AP"), "artefact.AP", 0, 1)
    counts = {key: number(optional(value, key), key, 0) for key in COUNTS}
    memory = {key: number(optional(value, "memory", key), f"memory.{key}", 0) for key in MEMORY}
    return Measurement(
        run,
        path,
        {"device": device, **{printable(key): _as_text(one, key) for key, one in given.items() if key != "device"}},
        launches,
        printable(disturbed or ""),
        math.nan if ap is None else ap,
        {key: math.nan if found is None else found for key, found in counts.items()},
        {key: math.nan if found is None else found for key, found in memory.items()},
        _versions(value),
    )


def _as_text(value: Any, name: str) -> str:
    """As in the file; 1.0 is 1."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return f"{number(value, f'conditions.{name}'):.12g}"


def _versions(value: Mapping[str, Any]) -> dict[str, str]:
    packages = optional(value, "env", "packages") or {}
    if not isinstance(packages, dict):
        raise FormatError(f"env.packages is {type_name(packages)} where an object belongs")
    # One package may be recorded as `Foo_bar` or `foo-bar`: both are one name (PEP 503).
    by_name = {str(name).lower().replace("_", "-"): version for name, version in packages.items()}
    found = {"python": text(optional(value, "env", "python"), "env.python")}
    found |= {name: text(by_name[name], f"env.packages.{name}") for name in SOFTWARE if name in by_name}
    return {name: version for name, version in found.items() if version}
