"""`c2d impressions make|control`: training images from a detector alone, and other images in their place."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from c2d.core.run_folder import RunFolder
    from c2d.specs.spec import RunSpec
    from c2d.training.synthesis import SynthesisOptions

app = typer.Typer(
    help="Make training images from a detector alone; the result is a data set for any student.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Runs = Annotated[Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")]
Data = Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")]
Quiet = Annotated[bool, typer.Option("--quiet", help="log to log.txt only")]
Out = Annotated[Path, typer.Argument(help="a new folder, or that of an interrupted call, which continues")]


class Control(StrEnum):
    """Images of a control."""

    noise = "noise"
    procedural = "procedural"
    real = "real"


@app.command()
def make(
    teacher_run: Annotated[str, typer.Argument(help="a finished detector: its run id, or its folder")],
    out: Out,
    preset: Annotated[
        str, typer.Option(metavar="NAME|FILE.yaml", help="moi, moi-small, diode, two-phase, or a schedule's path")
    ] = "moi",
    images: Annotated[int | None, typer.Option(min=1, help="number of images (default: the preset's)")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of targets and first pixels")] = 0,
    changes: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="a value of the schedule, e.g. priors.tv_l1=0.1")
    ] = [],  # noqa: B006 typer copies it
    stop_after: Annotated[
        int | None, typer.Option("--stop-after", min=1, help="save and exit after this iteration, as a test")
    ] = None,
    runs: Runs = None,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Optimise images against the losses of a detector; call again to continue an interrupted synthesis."""
    from c2d.core.errors import InputError
    from c2d.core.run_folder import read_json
    from c2d.core.store_folder import find_run, runs_folder
    from c2d.specs.images_of_spec import spec_of_synthesis
    from c2d.specs.names import read_schedule
    from c2d.specs.spec import parse_spec
    from c2d.training.synthesis import SynthesisOptions

    teacher = find_run(teacher_run, runs_folder(runs))
    schedule = read_schedule(preset, "impressions")
    if images is not None and any(text.partition("=")[0].strip() == "images" for text in changes):
        raise InputError("the number of images is given twice, by --images and by --set images=...; leave one out")
    given = [*changes, *([f"images={images}"] if images is not None else [])]
    for text in given:
        _set(schedule["values"], text)
    spec = spec_of_synthesis(parse_spec(read_json(teacher.spec), str(teacher.spec)), schedule, seed)
    _synthesise(out, spec, SynthesisOptions(data, stop_after, quiet), teacher, None)


@app.command()
def control(
    source: Annotated[Path, typer.Argument(help="folder of a finished synthesis (c2d impressions make)")],
    out: Out,
    kind: Annotated[
        Control,
        typer.Option(
            "--kind",
            help="noise, procedural: other images, the same targets; real: real images, the teacher's labels",
        ),
    ],
    runs: Runs = None,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Make the images of a control: what the optimised images are compared with."""
    from c2d.core.run_folder import RunFolder, read_json
    from c2d.core.store_folder import find_run, runs_folder
    from c2d.specs.images_of_spec import spec_of_control
    from c2d.specs.spec import parse_spec
    from c2d.training.synthesis import SynthesisOptions

    made = RunFolder(source.absolute())
    found = parse_spec(read_json(made.spec), str(made.spec))
    spec = spec_of_control(found, kind.value)
    beside = made.path.parent / str(spec.teachers.detector)
    teacher = RunFolder(beside) if beside.is_dir() else find_run(str(spec.teachers.detector), runs_folder(runs))
    _synthesise(out, spec, SynthesisOptions(data, None, quiet), teacher, made if spec.teachers.impressions else None)


def _synthesise(
    out: Path, spec: RunSpec, options: SynthesisOptions, teacher: RunFolder, source: RunFolder | None
) -> None:
    """Write the spec of a new folder, make its images, and print what came out."""
    import os
    import shutil

    from c2d.cli.commands import summary
    from c2d.core.attempt import Interrupted
    from c2d.core.errors import Busy, InputError
    from c2d.core.run_folder import RunFolder, read_json
    from c2d.training.synthesis import synthesise

    folder = RunFolder(out.absolute())
    created = _prepare(folder, spec)
    try:
        result = read_json(folder.result) if folder.is_done else synthesise(
            folder, spec, options, teacher=teacher, source=source
        )  # fmt: skip
    except Interrupted as stop:
        if not stop.planned:
            raise
        print(f"{stop}\nfolder: {out}")
        return
    except InputError as error:
        is_first = int(os.environ.get("RANK", "0")) == 0 and not folder.log.exists() and not isinstance(error, Busy)
        if created and is_first:  # nothing was started: remove the new folder
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    if result:
        claim = "data_free: true" if spec.impressions.images_from != "real" else "data_free: false"
        print(f"{summary(result)}\nfolder: {out}, a data set: a student's spec has dataset: {out} and {claim}")


def _prepare(folder: RunFolder, spec: RunSpec) -> bool:
    """Write the spec where there is none yet; return whether the folder is new.

    Raises:
        InputError: the folder holds something else.
    """
    from c2d.core.errors import InputError
    from c2d.core.run_folder import atomic_write_json, read_json
    from c2d.specs.spec import parse_spec

    if folder.spec.exists():
        found = parse_spec(read_json(folder.spec), str(folder.spec))
        if found != spec:
            raise InputError(f"{folder.path} holds another run ({_difference(found, spec)}); give another folder")
        return False
    if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        raise InputError(f"{folder.path} exists and holds no synthesis; give a new folder")
    created = not folder.path.exists()
    atomic_write_json(folder.spec, spec.to_json())
    return created


def _difference(found: RunSpec, wanted: RunSpec) -> str:
    """Name the first value that differs, as `schedule.values.images 500, asked for 1000`."""

    def flat(value: Any, path: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {path: value}
        return {key: item for name, inner in value.items() for key, item in flat(inner, f"{path}.{name}").items()}

    old, new = flat(found.to_json()), flat(wanted.to_json())
    # `name` follows from the others.
    key = next(key for key in {**old, **new} if old.get(key) != new.get(key) and key != ".name")
    return f"{key.removeprefix('.')} {old.get(key)!r}, asked for {new.get(key)!r}"


def _set(values: dict[str, Any], text: str) -> None:
    """Set one value of a schedule in place, as in `priors.tv_l1=0.1`.

    Raises:
        InputError: no such key, or no YAML value.
    """
    from c2d.core.errors import InputError
    from c2d.core.yaml.yaml_lines import parse_mapping
    from c2d.specs.impressions_schedule import ImpressionsSchedule
    from c2d.specs.schedule import schedule_key_mistake

    key, equals, given = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: give a key and its value, e.g. --set priors.tv_l1=0.1")
    if mistake := schedule_key_mistake(key.split("."), (ImpressionsSchedule,)):
        raise InputError(f"--set {text}: {mistake}")
    if key == "images_from":
        raise InputError(f"--set {text}: other images are made of a finished synthesis: c2d impressions control")
    *above, last = key.split(".")
    for part in above:
        values = values.setdefault(part, {})
    values[last] = parse_mapping(f"value: {given}", f"--set {text}", "a value")["value"]
