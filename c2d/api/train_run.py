"""Resolve, train and evaluate a run. `c2d train` and `c2d evaluate` call these functions, parse and print."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.api.run_handle import Run
from c2d.core.errors import Busy, InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import find_run, runs_folder
from c2d.tracking.tracker_option import check_trackers, parse_trackers

Spec = Mapping[str, Any] | str | os.PathLike[str]
"""Keys of a spec (docs/spec.md), a YAML file, or a run: its id, the beginning of its id, or its folder."""


def resolve(spec: Spec, *, runs: str | Path | None = None, data: str | Path | None = None) -> Run:
    """Return the run of a spec: its id and its full spec. Nothing is trained, and torch is not imported.

    Only what the spec names by its path is written into the store: a copy of weights or of a student's config, and the
    place of a data set.

    Args:
        spec: {key: value} as in SPEC.yaml (docs/spec.md), a YAML file, or a run: its id, the beginning of its id, or
            its folder.
        runs: the store, where teachers are looked up (default: C2D_RUNS, else ./runs).
        data: root of the data cards (default: the folder of a data set that is given by path, else C2D_DATA, else
            ./data).

    Returns:
        The run. `id` depends on everything that decides the result, and on nothing else. Its folder is absolute, so it
        stays the same run when the working directory changes.

    Raises:
        InputError: no such file or run; an unknown key or name, or a value that is not allowed.
    """
    run = run_of_spec(spec, runs=runs, data=data)
    return dataclasses.replace(run, path=run.path.absolute(), data=None if run.data is None else run.data.absolute())


def run_of_spec(spec: Spec, *, runs: str | Path | None = None, data: str | Path | None = None) -> Run:
    """Return the run of a spec with folders as they were given, which the command prints; see `resolve`.

    Args:
        spec, runs, data: as in `resolve`.
    """
    from c2d.core.yaml.yaml_lines import read_mapping
    from c2d.specs.names import Names, look_up_names, names_in, scaling_lines
    from c2d.specs.resolve_spec import resolve_spec
    from c2d.specs.spec import parse_spec

    root, cards, source = runs_folder(runs), None if data is None else Path(data), ""
    if isinstance(spec, Mapping):
        given, where = dict(spec), "spec"
    elif (where := os.fspath(spec)).endswith((".yaml", ".yml")):
        given, source = read_mapping(Path(where)), where
    else:
        folder = find_run(where, root)
        return Run(folder.path, parse_spec(read_json(folder.spec), str(folder.spec)).to_json(), cards)
    found = resolve_spec(given, where=where, runs=root, data=cards)
    notes = scaling_lines([given], look_up_names(Names(schedules=names_in([given]).schedules), root))
    return Run(root / found.id, found.to_json(), cards or _root_of(given["dataset"]), source, tuple(notes))


def train(
    spec: Spec | Run,
    *,
    runs: str | Path | None = None,
    data: str | Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    checkpoint_every: int | None = None,
    download: bool = False,
    stop_after: int | None = None,
    monitor: int | None = None,
    cache_teacher: str | Path | None = None,
    track: str | Sequence[str] = (),
    quiet: bool = False,
) -> Run:
    """Train a run, export its stock student and evaluate it, as `c2d train` does.

    A run that is finished already is returned as it is; one that was interrupted is continued. None of the options
    below `data` changes the result.

    Args:
        spec: {key: value} as in SPEC.yaml (docs/spec.md), a YAML file, a run to continue (its id, the beginning of its
            id, its folder), or a run of `c2d.resolve`.
        runs: the store, into which the run folder is written (default: C2D_RUNS, else ./runs).
        data: root of the data cards (default: the folder of a data set that is given by path, else C2D_DATA, else
            ./data).
        workers: loader processes of each rank (default: cores - 1).
        threads: CPU threads of this process; of effect only before torch is imported.
        checkpoint_every: iterations between two checkpoints (default: a tenth of the run).
        download: torchvision may download pretrained weights.
        stop_after: save and return after this iteration, as a test.
        monitor: iterations between two observations of the gradient of each distillation term.
        cache_teacher: folder for the classifier teacher's logits; for trainings without augmentation.
        track: trackers that get the numbers: tensorboard[:FOLDER], mlflow[:URI], wandb[:PROJECT] (docs/tracking.md).
        quiet: write the log to log.txt alone.

    Returns:
        The run; `result` has the numbers. After `stop_after` its state is `waiting`, and `stopped`
        has where it stopped.

    Raises:
        InputError: something to fix first; nothing was trained, and a new folder was removed again.
        Busy: another process trains this run.
        RunError: the training failed; status.json has the failure.
        Interrupted: a KeyboardInterrupt: a signal arrived, and the state was saved. Call again to continue.
    """
    counts = {"workers": workers, "threads": threads, "checkpoint_every": checkpoint_every, "stop_after": stop_after,
              "monitor": monitor}  # fmt: skip
    for name, count in counts.items():
        _check_count(name, count)
    run = spec if isinstance(spec, Run) else resolve(spec, runs=runs, data=data)
    trackers = parse_trackers([track] if isinstance(track, str) else track)
    check_trackers(trackers, run.path.parent)
    folder, created = RunFolder(run.path), _write_spec(run)
    if threads:
        # Before torch is imported: OpenMP reads the variable once.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
    import c2d.training.train
    from c2d.core.attempt import Interrupted
    from c2d.evaluation.loader_processes import available_workers

    workers = available_workers() if workers is None else workers
    cards = run.data if data is None else Path(data)
    cache = None if cache_teacher is None else Path(cache_teacher)
    options = c2d.training.train.RunOptions(
        cards, workers, checkpoint_every, download, quiet, stop_after, monitor, cache, tuple(map(str, trackers))
    )
    try:
        c2d.training.train.train(folder, options)
    except Interrupted as stop:
        if not stop.planned:
            raise
        return dataclasses.replace(run, stopped=str(stop))
    except InputError as error:
        if (
            created
            and int(os.environ.get("RANK", "0")) == 0
            and not folder.log.exists()
            and not isinstance(error, Busy)  # then another process uses the folder
        ):  # the run never started: remove its new folder
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return run


def evaluate(
    run: str | os.PathLike[str],
    *,
    runs: str | Path | None = None,
    data: str | Path | None = None,
    check: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Evaluate the exported weights of a finished run again, as `c2d evaluate RUN` does. The run is not changed.

    Args:
        run: its id, the beginning of its id, its folder, or a `Run`.
        runs: the store of an id (default: C2D_RUNS, else ./runs).
        data: root of the data cards (default: C2D_DATA, else ./data).
        check: run a second engine for COCO's and TIDE's numbers, too.
        workers: loader processes (default: cores - 1).

    Returns:
        The content of a result.json: AP and TIDE in 0-1, None where a number is undefined.

    Raises:
        InputError: no such run, or one that is not finished; its data set is missing or has changed.
        RunError: a number differs from that of result.json, or the engines differ (1e-6 for COCO, 0.05 AP for TIDE).
    """
    from c2d.evaluation.evaluate_run import evaluate_run
    from c2d.evaluation.loader_processes import available_workers

    cards = None if data is None else Path(data)
    count = available_workers() if workers is None else workers
    return evaluate_run(os.fspath(run), runs_folder(runs), cards, check, count)[0]


def _write_spec(run: Run) -> bool:
    """Write spec.json of a new run; return whether its folder is new."""
    from c2d.specs.spec import parse_spec

    folder = RunFolder(run.path)
    if not folder.spec.exists():
        created = not folder.path.exists()
        atomic_write_json(folder.spec, run.spec)
        return created
    if parse_spec(read_json(folder.spec), str(folder.spec)) != parse_spec(run.spec, str(folder.spec)):
        raise InputError(
            f"{folder.path} holds another spec than {run.source or 'the one given'}; move that folder away, or use "
            "another --runs"
        )
    return False


def _check_count(name: str, count: object) -> None:
    least = 0 if name == "workers" else 1
    if count is not None and (not isinstance(count, int) or count < least):
        raise InputError(f"{name} is {count!r}; give a whole number from {least} on, or None for the default")


def _root_of(dataset: Any) -> Path | None:
    """Return the root of a data set that was given by path: the folder above its card's; None for a name.

    A folder without a card is no data set: the files that one was made from may have its name.
    """
    from c2d.data.card import CARD_FILE

    if not isinstance(dataset, str):
        return None
    card = Path(dataset) if Path(dataset).name == CARD_FILE else Path(dataset) / CARD_FILE
    return card.parent.absolute().parent if card.is_file() else None
