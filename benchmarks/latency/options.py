"""What a command line of `c2d bench latency` asks for: a finished run, or a config with a checkpoint; and how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import find_run

if TYPE_CHECKING:
    from benchmarks.latency.timing import Rule
    from benchmarks.latency.worker import Request

IMAGES = ("real", "random")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Target:
    """config, checkpoint: files. folder: where latency files go. ap: in 0-1, where a run has evaluated the weights.
    data: entries of the test data set to replace, where it has moved."""

    config: Path
    checkpoint: Path
    folder: Path
    ap: float | None = None
    data: dict[str, Any] | None = None


def choose(
    run: str | None,
    config: Path | None,
    checkpoint: Path | None,
    out: Path | None,
    runs: Path | None,
    data: Path | None = None,
) -> Target:
    """The target of the command line.

    Args:
        data: where the images are now: for a run the root of the data cards, for a config its `data_root`.

    Raises:
        InputError: both or neither are given, the run is not there, not finished, or no detector, or its data are not
            in `data`, or are others.
    """
    if run is not None:
        if config or checkpoint:
            raise InputError("give a RUN, or --config and --checkpoint, not both: a run has its own")
        return _of_run(run, Path(runs or os.environ.get("C2D_RUNS") or "runs"), out, data)
    options = {"--config C": config, "--checkpoint K": checkpoint, "--out DIR": out}
    if config is None or checkpoint is None or out is None:
        missing = ", ".join(name for name, value in options.items() if value is None)
        raise InputError(f"{missing} missing; give a RUN, or --config C --checkpoint K --out DIR")
    return Target(config, checkpoint, out, data={"data_root": str(data.resolve())} if data else None)


def _of_run(given: str, runs: Path, out: Path | None, data: Path | None) -> Target:
    folder = RunFolder(find_run(given, runs).path.resolve())  # the measuring process has another working folder
    spec = read_json(folder.spec)
    if spec.get("kind") != "detector":
        raise InputError(f"run {folder.id} is no detector; latency is measured of students")
    if not folder.student.exists() or not folder.result.exists():
        state = folder.read_status()["state"]
        raise InputError(f"run {folder.id} is {state} and has no result yet; finish it: c2d train {folder.path}")
    ap = read_json(folder.result).get("AP")
    return Target(folder.config, folder.student, out or folder.latency, ap, _moved(spec, data))


def _moved(spec: dict[str, Any], data: Path | None) -> dict[str, Any] | None:
    if data is None:
        return None
    from c2d.data.card import find_card

    card = find_card(spec["dataset"]["name"], spec["dataset"]["digest"], data)
    files = card.annotations("val").resolve(), card.images("val").resolve()
    return {"data_root": "", "ann_file": str(files[0]), "data_prefix": {"img": str(files[1])}}


def size_of(text: str) -> tuple[int, int]:
    """(height, width) of `300` or `800x1333`.

    Raises:
        InputError: neither of the two, or below 32 pixels.
    """
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isdigit() for side in sides) or min(map(int, sides)) < 32:
        raise InputError(
            f"--input {text} is no size; give one side (300) or HEIGHTxWIDTH (800x1333), at least 32 pixels"
        )
    return int(sides[0]), int(sides[-1])


def backends(given: Sequence[str] | None) -> list[str]:
    """Names of backends: those given, each once, `all` for every one; eager by default.

    Raises:
        InputError: an unknown one.
    """
    from benchmarks.backends import BACKENDS, find

    if given and "all" in given:
        return list(BACKENDS)
    for name in given or ():
        find(name)
    return list(dict.fromkeys(given or ["eager"]))


def request(
    target: Target,
    *,
    device: str | None,
    size: tuple[int, int] | None,
    batches: Sequence[int],
    stages: Sequence[str] | None,
    images: str,
    count: int,
    interval_ms: float | None,
    threads: int | None,
    rule: Rule,
    workspace: Path,
) -> Request:
    """What every process of the measurement is asked; without `stages` all that the device has.

    Raises:
        InputError: an unknown device, stage or kind of images.
    """
    import torch

    from benchmarks.latency import stages as known
    from benchmarks.latency.worker import Request

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    for kind, given, allowed in (("device", where.partition(":")[0], DEVICES), ("kind of images", images, IMAGES)):
        if given not in allowed:
            raise unknown_name(kind, given, allowed)
    by_default = [name for name in known.STAGES if name != known.COPY or where != "cpu"]
    return Request(
        config=str(target.config),
        checkpoint=str(target.checkpoint),
        backend="eager",
        out="",
        workspace=str(workspace),
        device=where,
        size=size,
        batches=tuple(sorted(set(batches))),
        stages=known.check(stages or by_default),
        images=images,
        count=count,
        interval_ms=interval_ms,
        threads=threads,
        ap=target.ap,
        data=target.data,
        rule=rule,
    )
