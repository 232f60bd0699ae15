"""The command group `c2d bench`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Measure: latency of a student, cost of a training step, speed of the loader; estimate GPU hours.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    pass


@app.command()
def step(
    specs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SPEC.yaml|RUN]...", help="specs to measure, instead of the shipped cases"),
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="students to measure; repeat it (default: the three of the table)")
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, help="counted pairs of steps (plain, distilled)")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write all samples (JSON)")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA)")] = None,
) -> None:
    """Time plain and distilled training steps in turn, of specs or of the shipped ICOD cases; print their ratio."""
    if specs:
        if student:
            from c2d.core.errors import InputError

            raise InputError("give specs or --student, not both: --student chooses among the shipped cases")
        from benchmarks.training import step_of_spec

        records = step_of_spec.measure_specs(specs, runs, data, repeats, threads)
        print(step_of_spec.markdown(records))
        _write_records(out, records)
        return
    from benchmarks.training.step import CASES, markdown, measure_step, peak_mib

    cases = [case for case in CASES if not student or case.student in student]
    if student and len(cases) < len(set(student)):
        from c2d.core.errors import unknown_name

        raise unknown_name(
            "student of the step table",
            next(name for name in student if name not in {case.student for case in CASES}),
            [case.student for case in CASES],
        )
    # A process of its own for each measurement, because memory that one leaves would count for the next.
    # spawn, because a forked child inherits memory and cannot use CUDA.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        records = []
        for case in cases:
            record = pool.submit(measure_step, case, repeats, threads).result()
            for variant in ("plain", "distilled"):
                record[f"{variant}_mib"] = round(pool.submit(peak_mib, case, variant, threads).result(), 1)
            records.append(record)
    print(markdown(records))
    _write_records(out, records)


@app.command()
def impressions(
    teachers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="finished detectors (default: two with random weights)"),
    ] = None,
    preset: Annotated[str, typer.Option(help="schedule of the synthesis: a preset or a YAML file")] = "moi",
    batch: Annotated[int, typer.Option(min=1, help="images that are optimised together")] = 16,
    size: Annotated[int, typer.Option("--input", min=32, help="side of the images in px")] = 160,
    repeats: Annotated[int, typer.Option(min=3, help="counted rounds, in each of which every side runs")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write all samples (JSON)")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
) -> None:
    """Time the synthesis of images beside a plain loop over the detector's losses; print their ratio and the parts."""
    import os

    from benchmarks.training.impressions_speed import SynthesisCase, markdown, measure_impressions, peak_mib
    from c2d.core.store_folder import find_run

    store = Path(runs or os.environ.get("C2D_RUNS") or "runs")
    named = [str(find_run(given, store).path) for given in teachers or []]
    cases = [SynthesisCase(one, batch, size, preset) for one in named or ("faster-rcnn-qr18", "retinanet-r18")]
    # A process of its own for each measurement, see `step`.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        records = []
        for case in cases:
            record = pool.submit(measure_impressions, case, repeats, threads).result()
            for side in ("plain", "ours"):
                record[f"{side}_mib"] = round(pool.submit(peak_mib, case, side, threads).result(), 1)
            records.append(record)
    print(markdown(records))
    _write_records(out, records)


@app.command()
def latency(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="a finished run: its id or folder")] = None,
    config: Annotated[Path | None, typer.Option(help="any mmdet config, instead of a run")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="its weights")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the files (default: RUN/latency)")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="repeat it, or `all` (default: eager)")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="images a call; repeat it (default: 1)")] = None,
    size: Annotated[
        list[str] | None, typer.Option("--input", help="300 or 800x1333 (height x width); repeat it (default: its own)")
    ] = None,
    stage: Annotated[list[str] | None, typer.Option(help="repeat it (default: all, each alone and end to end)")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: cuda where there is one)")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: torch's)")] = None,
    launches: Annotated[int, typer.Option(min=1, help="processes; fewer than 3 give no interval")] = 3,
    seconds: Annotated[float, typer.Option(min=0.0, help="minimum seconds of each row and launch")] = 2.0,
    count: Annotated[int, typer.Option(min=2, help="minimum samples of each row and launch")] = 100,
    most_seconds: Annotated[float, typer.Option(help="after that ten samples suffice")] = 60.0,
    interval_ms: Annotated[
        float | None, typer.Option(min=0.1, help="single stream: ms between two calls (default: closed loop)")
    ] = None,
    images: Annotated[str, typer.Option(help="real (of the test set) or random (noise)")] = "real",
    image_count: Annotated[int, typer.Option(min=1, help="number of different images")] = 16,
    memory: Annotated[bool, typer.Option(help="measure the peak memory of a training step too")] = True,
    show_disturbed: Annotated[bool, typer.Option(help="show the numbers of disturbed rows too")] = False,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
    data: Annotated[
        Path | None, typer.Option(help="where the images are now: root of the data cards; data_root of a --config")
    ] = None,
) -> None:
    """Measure the latency of a student: backends x batch sizes x stages, in several processes, raw samples stored."""
    import signal
    import tempfile

    from benchmarks.latency import latency_table, options
    from benchmarks.latency.latency_writer import write_latency_file
    from benchmarks.latency.measure import Interrupted, measure_latency
    from benchmarks.latency.student_memory import add_training_memory
    from benchmarks.latency.timing import StoppingRule

    # SLURM ends a job with SIGTERM: keep what was measured, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    target = options.choose_target(run, config, checkpoint, out, runs, data)
    names = options.backend_names(backend)
    sizes: list[tuple[int, int] | None] = [options.parse_size(text) for text in size or []] or [None]
    with tempfile.TemporaryDirectory(prefix="c2d-latency-") as folder:
        rows = []
        for input_size in sizes:
            request = options.build_request(
                target,
                device=device,
                size=input_size,
                batches=batch or [1],
                stages=stage,
                images=images,
                image_count=image_count,
                interval_ms=interval_ms,
                threads=threads,
                rule=StoppingRule(min_s=seconds, min_count=count, max_s=most_seconds),
                workspace=Path(folder) / ("own" if input_size is None else f"{input_size[0]}x{input_size[1]}"),
            )
            try:
                of_size = measure_latency(request, names, launches, lambda line: typer.echo(line, err=True))
                rows += of_size
                if memory:
                    typer.echo("memory of a training step", err=True)
                    add_training_memory(request, of_size)
            except Interrupted as interruption:
                typer.echo(interruption, err=True)
                rows += interruption.rows
                break
            except KeyboardInterrupt:  # all samples exist, some memory was not measured
                break
    paths = [write_latency_file(target.folder, row) for row in rows if row.launches]
    print(latency_table.markdown(rows, show_disturbed))
    for line in (latency_table.conditions(rows), latency_table.counts(rows), latency_table.training(rows)):
        print(f"\n{line}" if line else "", end="")
    print(f"\n{len(paths)} files in {target.folder}" if paths else "\nnothing could be measured")
    # A reason that describes the machine (a package that is not installed) is no failure.
    if not paths or any(row.reason and not row.expected for row in rows):
        raise typer.Exit(1)


@app.command(name="eval")
def evaluation(
    images: Annotated[int, typer.Option(help="images of the synthetic set (COCO's val2017 has 5000)")] = 5000,
    rounds: Annotated[int, typer.Option(min=1, help="rounds, in each of which both sides run")] = 1,
    resamples: Annotated[int, typer.Option(min=100, help="draws of the bootstrap over images")] = 1000,
    out: Annotated[Path | None, typer.Option(help="where to write all figures (JSON)")] = None,
) -> None:
    """Time COCO, TIDE and the bootstrap on a synthetic set beside pycocotools and tidecv, and check that they agree."""
    from tempfile import TemporaryDirectory

    from benchmarks.suite.evaluation_speed import markdown, measure_evaluation

    with TemporaryDirectory() as folder:
        record = measure_evaluation(Path(folder), images, rounds, resamples)
    print(markdown(record))
    _write_records(out, [record])
    if not record["parity"]["ok"]:
        from c2d.core.errors import RunError

        raise RunError("the engines disagree; see the lines above", "data")


@app.command()
def detection(
    student: Annotated[str, typer.Option(help="name of the student; its weights are random")] = "retinanet-qr18",
    images: Annotated[int, typer.Option(min=1, help="images, JPEG of COCO's sizes")] = 100,
    size: Annotated[int | None, typer.Option("--input", help="short side in px (default: the student's)")] = None,
    workers: Annotated[
        list[int] | None, typer.Option(min=0, help="loader processes; repeat it (default: 0, 1)")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds, in each of which both sides run")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write all figures (JSON)")] = None,
) -> None:
    """Time the detection of a data set by c2d and by mmengine's test loop in turn, and check that they agree."""
    from tempfile import TemporaryDirectory

    from benchmarks.training.detection_speed import markdown, measure_detection

    with TemporaryDirectory() as folder:
        records = measure_detection(Path(folder), student, images, size, workers or [0, 1], rounds, threads)
    print(markdown(records))
    _write_records(out, records)
    if not all(record["equal"] for record in records):
        from c2d.core.errors import RunError

        raise RunError("the detections differ from those of mmengine's test loop; see the last column", "data")


@app.command()
def overhead(
    cells: Annotated[int, typer.Option(help="cells of the sweep that is planned, a multiple of 10")] = 10_000,
    read: Annotated[int, typer.Option(help="runs of the store that is read, a multiple of 20")] = 1000,
    report: Annotated[int, typer.Option(help="runs of the store that is reported, a multiple of 20")] = 200,
    repeats: Annotated[int, typer.Option(min=1, help="samples of each")] = 3,
    out: Annotated[Path | None, typer.Option(help="where to write all samples (JSON)")] = None,
) -> None:
    """Time our own code, each part beside its goal: help, imports, planning, reading a store, a report."""
    from tempfile import TemporaryDirectory

    from benchmarks.suite.overhead import Sizes, markdown, measure_overhead

    with TemporaryDirectory() as folder:
        record = measure_overhead(Path(folder), Sizes(cells, read, report), repeats)
    print(markdown(record))
    _write_records(out, [record])


@app.command()
def loader(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC.yaml|RUN", help="its data set is here, its teachers are finished")
    ],
    workers: Annotated[str, typer.Option(metavar="N,N,...", help="numbers of loader processes")] = "0,2,4",
    batches: Annotated[int, typer.Option(min=3, help="counted batches of each measurement")] = 20,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write all samples (JSON)")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA)")] = None,
) -> None:
    """Time the loader of a training, its step, and both together; print how long the step waits for data."""
    from c2d.core.errors import InputError

    counts = [part.strip() for part in workers.split(",")]
    if not all(part.isdecimal() for part in counts):
        raise InputError(f"--workers {workers!r}: give numbers of loader processes with commas, such as 0,2,4")
    from benchmarks.training import loader_speed

    record = loader_speed.measure_loader(spec, runs, data, [int(part) for part in counts], batches, threads)
    print(loader_speed.markdown(record))
    _write_records(out, [record])


@app.command()
def hours(
    definitions: Annotated[
        list[str] | None, typer.Argument(metavar="[DEF]...", help="definitions of sweeps, or names of shipped ones")
    ] = None,
    gpu: Annotated[str, typer.Option(help="v100, a100, h100 or all")] = "all",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of a training, for the padding of its batches")] = 8,
    check: Annotated[bool, typer.Option(help="measure steps on this CPU beside the estimate, instead")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="one line for each cell and teacher")] = False,
    out: Annotated[Path | None, typer.Option(help="write to this file instead")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA)")] = None,
) -> None:
    """Estimate the GPU hours of every run of definitions from counted FLOPs; or measure the estimate's own error."""
    import json

    from c2d.core.errors import InputError, unknown_name
    from c2d.core.run_folder import atomic_write_text

    if check == bool(definitions):
        raise InputError("give definitions (DEF.yaml or a shipped name), or --check alone, which takes none")
    if as_json and as_csv:
        raise InputError("--json and --csv are two formats; give one of them")
    if check:
        from benchmarks.hours import hours_check

        record = hours_check.measure_error()
        text = json.dumps(record, indent=1) if as_json else hours_check.markdown(record)
    else:
        from benchmarks.hours import hours_table
        from benchmarks.hours.estimate import estimate_hours
        from benchmarks.hours.gpu_cards import CARDS
        from c2d.core.store_folder import runs_folder

        if gpu not in (*CARDS, "all"):
            raise unknown_name("GPU", gpu, [*CARDS, "all"])
        cards = list(CARDS) if gpu == "all" else [gpu]
        estimate = estimate_hours(definitions or [], cards, runs_folder(runs), data, gpus)
        text = hours_table.to_csv(estimate) if as_csv else hours_table.markdown(estimate)
        text = json.dumps(hours_table.to_json(estimate), indent=1) if as_json else text
    if out is None:
        print(text)
    else:
        atomic_write_text(out, text.rstrip("\n") + "\n")
        print(f"written: {out}")


def _write_records(out: Path | None, records: list[dict[str, Any]]) -> None:
    if out is not None:
        from c2d.core.run_folder import atomic_write_json

        atomic_write_json(out, {"format": 1, "records": records})
