"""Turn the command line of `c2d bench latency` into a target (a run, or config and checkpoint) and a request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.configs.run_config import read_run_config
from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import find_run

if TYPE_CHECKING:
    from benchmarks.latency.latency_request import LatencyRequest
    from benchmarks.latency.timing import StoppingRule

IMAGES = ("real", "random")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Target:
    """What to measure.

    Attributes:
        config, checkpoint: files of the student.
        folder: where latency files go.
        ap: AP (0-1) that a run has recorded for these weights; None: not known.
        dataset_overrides: entries of the config's test data set to replace, where the data have moved.
    """

    config: Path
    checkpoint: Path
    folder: Path
    ap: float | None = None
    dataset_overrides: dict[str, Any] | None = None


def choose_target(
    run: str | None,
    config: Path | None,
    checkpoint: Path | None,
    out: Path | None,
    runs: Path | None,
    data: Path | None = None,
) -> Target:
    """Return the target of the command line: a run, or config, checkpoint and out.

    Args:
        run: id, beginning of an id, or folder.
        config, checkpoint: files.
        out: folder for the latency files; None: that of the run.
        runs: the store; None: C2D_RUNS, else ./runs.
        data: where the images are now: for a run the root of the data cards, for a config its `data_root`.

    Raises:
        InputError: both or neither are given; the run is missing, not finished, or no detector, or its files were
            changed; its data are missing in `data`, or differ.
    """
    if run is not None:
        if config or checkpoint:
            raise InputError("give a RUN, or --config and --checkpoint, not both: a run has its own")
        return _target_of_run(run, Path(runs or os.environ.get("C2D_RUNS") or "runs"), out, data)
    options = {"--config C": config, "--checkpoint K": checkpoint, "--out DIR": out}
    # A config has no run folder, so the place of the files has no default.
    if config is None or checkpoint is None or out is None:
        missing = ", ".join(name for name, value in options.items() if value is None)
        raise InputError(f"{missing} missing; give a RUN, or --config C --checkpoint K --out DIR")
    # Absolute: a worker may have another working directory.
    return Target(config, checkpoint, out, dataset_overrides={"data_root": str(data.resolve())} if data else None)


def _target_of_run(given: str, runs: Path, out: Path | None, data: Path | None) -> Target:
    folder = RunFolder(find_run(given, runs).path.resolve())  # a worker may have another working directory
    spec = read_json(folder.spec)
    if spec.get("kind") != "detector":
        raise InputError(f"run {folder.id} is no detector; latency is measured of students")
    if not folder.student.exists() or not folder.result.exists():
        state = folder.read_status()["state"]
        raise InputError(f"run {folder.id} is {state} and has no result yet; finish it: c2d train {folder.path}")
    read_run_config(folder)  # verified here, before a process is started
    ap = read_json(folder.result).get("AP")
    return Target(folder.config, folder.student, out or folder.latency, ap, _dataset_overrides(spec, data))


def _dataset_overrides(spec: dict[str, Any], data: Path | None) -> dict[str, Any] | None:
    if data is None:
        return None
    from c2d.data.card_lookup import find_card

    card = find_card(spec["dataset"]["name"], spec["dataset"]["digest"], data)
    split = card.evaluation_split
    annotations, images = card.annotations(split).resolve(), card.images(split).resolve()
    return {"data_root": "", "ann_file": str(annotations), "data_prefix": {"img": str(images)}}


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) in px of `300` or `800x1333`.

    Raises:
        InputError: neither of the two, or below 32 px.
    """
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isdigit() for side in sides) or min(map(int, sides)) < 32:
        raise InputError(
            f"--input {text} is no size; give one side (300) or HEIGHTxWIDTH (800x1333), at least 32 pixels"
        )
    # One side means a square.
    return int(sides[0]), int(sides[-1])


def backend_names(given: Sequence[str] | None) -> list[str]:
    """Return the given names of backends, each once; `all` means every backend, no name means eager.

    Raises:
        InputError: unknown name.
    """
    from benchmarks.backends.registry import BACKENDS, find_backend

    if given and "all" in given:
        return list(BACKENDS)
    for name in given or ():
        find_backend(name)
    return list(dict.fromkeys(given or ["eager"]))


def build_request(
    target: Target,
    *,
    device: str | None,
    size: tuple[int, int] | None,
    batches: Sequence[int],
    stages: Sequence[str] | None,
    images: str,
    image_count: int,
    interval_ms: float | None,
    threads: int | None,
    rule: StoppingRule,
    workspace: Path,
) -> LatencyRequest:
    """Return the request that all processes of the measurement share; see LatencyRequest for the arguments.

    Without `stages` all stages of the device are measured.

    Raises:
        InputError: unknown device, stage or kind of images.
    """
    import torch

    from benchmarks.latency.latency_request import COPY, STAGES, LatencyRequest, check_stages

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    for kind, given, allowed in (("device", device.partition(":")[0], DEVICES), ("kind of images", images, IMAGES)):
        if given not in allowed:
            raise unknown_name(kind, given, allowed)
    default_stages = [name for name in STAGES if name != COPY or device != "cpu"]
    return LatencyRequest(
        config=str(target.config),
        checkpoint=str(target.checkpoint),
        backend="eager",
        out="",
        workspace=str(workspace),
        device=device,
        size=size,
        batches=tuple(sorted(set(batches))),
        stages=check_stages(stages or default_stages),
        images=images,
        image_count=image_count,
        interval_ms=interval_ms,
        threads=threads,
        known_ap=target.ap,
        dataset_overrides=target.dataset_overrides,
        rule=rule,
    )
