"""`c2d train`, `evaluate`, `inspect`, `suggest-weight`, `methods`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

Runs = Annotated[Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")]
Data = Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="loader processes of each rank (default: cores - 1); results do not depend on it"),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME[:PLACE]",
        help="tensorboard[:FOLDER], mlflow[:URI], wandb[:PROJECT]; several with a comma (docs/tracking.md)",
    ),
]


def train(
    spec: Annotated[str, typer.Argument(metavar="SPEC.yaml|RUN", help="a spec (docs/spec.md), or a run to continue")],
    runs: Runs = None,
    data: Data = None,
    workers: Workers = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads (default: OMP_NUM_THREADS, else the cores it may use)")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="iterations (default: a tenth of the run)")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="torchvision may download pretrained weights")] = False,
    stop_after: Annotated[
        int | None, typer.Option("--stop-after", min=1, help="save and exit after this iteration, as a test")
    ] = None,
    monitor: Annotated[
        int | None,
        typer.Option(min=1, help="iterations between two logs of the gradient of each distillation term"),
    ] = None,
    cache_teacher: Annotated[
        Path | None,
        typer.Option("--cache-teacher", metavar="DIR", help="keep the classifier teacher's logits; no augmentation"),
    ] = None,
    track: Track = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="log to log.txt only")] = False,
) -> None:
    """Train one run, export the stock student and evaluate it; call again to continue an interrupted one."""
    from c2d.api import train_run
    from c2d.core.process.usable_cores import threads_within_quota

    run = train_run.run_of_spec(spec, runs=runs, data=data)
    for line in run.notes:
        print(line)
    if threads is None:
        threads = threads_within_quota()
    run = train_run.train(
        run,
        data=data,
        workers=workers,
        threads=threads,
        checkpoint_every=checkpoint_every,
        download=download,
        stop_after=stop_after,
        monitor=monitor,
        cache_teacher=cache_teacher,
        track=track or (),
        quiet=quiet,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        print(run.stopped or summary(run.result))
        print(f"run folder: {run.path}")


def evaluate(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="a finished run")] = None,
    config: Annotated[Path | None, typer.Option(help="a stock mmdet config")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="its weights, stock keys")] = None,
    card: Annotated[
        str | None, typer.Option("--data", help="data card: a name or a path; for a RUN: the root of the cards")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="run both engines; fail beyond 1e-6 (COCO) or 0.05 AP (TIDE)")
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="names of the outputs: a,b,c, a text file, or `card` (the card's classes)"),
    ] = None,
    workers: Workers = None,
    runs: Runs = None,
    out: Annotated[Path | None, typer.Option(help="where to write the result (JSON)")] = None,
) -> None:
    """Evaluate exported weights: the numbers of a run again, or of any stock config, checkpoint and data set."""
    from c2d.core.errors import InputError
    from c2d.core.store_folder import runs_folder
    from c2d.evaluation.evaluate_files import evaluate_files
    from c2d.evaluation.evaluate_run import evaluate_run
    from c2d.evaluation.loader_processes import available_workers

    if run is not None and classes is not None:
        raise InputError("--classes names the outputs of a foreign model; a RUN has the classes of its data set")
    workers = available_workers() if workers is None else workers
    if run is not None:
        result, lines = evaluate_run(run, runs_folder(runs), Path(card) if card else None, check, workers)
    else:
        result, lines = evaluate_files(config, checkpoint, card, runs_folder(runs), check, classes, workers)
    if not result:  # a rank other than 0
        return
    for line in lines:
        print(line)
    print(summary(result))
    if out is not None:
        from c2d.core.run_folder import atomic_write_json

        atomic_write_json(out, result)


def inspect(
    spec: Annotated[str, typer.Argument(metavar="SPEC.yaml|RUN", help="a spec with a method (docs/spec.md), or a run")],
    images: Annotated[int, typer.Option("--images", min=1, max=16, help="training images to show")] = 4,
    out: Annotated[Path, typer.Option(help="the picture (PNG)")] = Path("inspect.png"),
    runs: Runs = None,
    data: Data = None,
) -> None:
    """Draw what a method uses (masks, boxes, crops, attention) in some training images, before training."""
    from c2d.core.store_folder import runs_folder
    from c2d.preflight.visualize import draw_methods
    from c2d.training.build import build_from_name

    for line in draw_methods(build_from_name(spec, runs_folder(runs), data), images, _writable(out)):
        print(line)
    print(f"picture: {out}")


def suggest_weight(
    spec: Annotated[str, typer.Argument(metavar="SPEC.yaml|RUN", help="a spec with a method (docs/spec.md), or a run")],
    steps: Annotated[int, typer.Option(min=1, help="training steps, in memory only")] = 200,
    every: Annotated[int, typer.Option(min=1, help="steps between two observations of the gradients")] = 10,
    runs: Runs = None,
    data: Data = None,
) -> None:
    """Train some steps, compare the gradients of each term with the task's, and propose weights for a sweep."""
    from c2d.core.store_folder import runs_folder
    from c2d.preflight.suggest_weight import measure_gradients, suggest, table
    from c2d.training.build import build_from_name

    def report(step: int, numbers: dict[str, float]) -> None:
        print(f"step {step}/{steps}  loss {numbers['loss']:.3f}  |g_task| {numbers['kd_task_grad']:.3g}", flush=True)

    run = build_from_name(spec, runs_folder(runs), data)
    print(table([suggest(gradient) for gradient in measure_gradients(run, steps, every, report)]))


def _writable(path: Path) -> Path:
    from c2d.core.errors import InputError

    if path.suffix.lower() != ".png" or not path.absolute().parent.is_dir():
        raise InputError(f"--out {path}: wanted a file name that ends in .png, in a folder that exists")
    return path


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="one method, with its parameters")] = None,
) -> None:
    """List the distillation methods, or show one: what it is, its sources and parameters, what is unverified."""
    from c2d.core.errors import unknown_name
    from c2d.specs import method_docs
    from c2d.specs.catalog import method_catalog

    catalog = method_catalog()
    if name is not None and name not in catalog:
        raise unknown_name("method", name, catalog, "see `c2d methods`")
    print(method_docs.method_list(catalog) if name is None else method_docs.method_text(name, catalog[name]))


def summary(result: dict[str, Any]) -> str:
    """Return the numbers of a result in one or two lines; undefined ones are a dash."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    split = result.get("evaluation_split") or "val"  # results from before it was recorded
    place = "" if split == "val" else f"\nmeasured on the split '{split}'"
    if result["kind"] == "classifier":
        scores = f"top-1 {percent(result['top1'])}  top-5 {percent(result['top5'])}  ECE {percent(result['ece'])}"
        return f"{scores}  ({result['n']} held-out crops){place}"
    if result["kind"] == "impressions":
        found = f"the teacher finds {percent(result['redetected'])} % of {result['boxes']} targets again"
        return f"{result['images']} images ({result['images_from']}); {found}"
    main = "  ".join(f"{key} {percent(result[key])}" for key in ("AP", "AP50", "AP75", "APs", "APm", "APl"))
    errors = "  ".join(f"{key} {percent(value)}" for key, value in result["tide"]["dAP"].items())
    others = "".join(
        f"\n{protocol.upper()}: " + "  ".join(f"{k} {percent(v)}" for k, v in block.items() if k.startswith("AP"))
        for protocol, block in result.get("protocols", {}).items()
    )
    published = result.get("published_ap")  # of a file of the model zoo
    beside = "" if published is None else f"\npublished AP {percent(published)}"
    if result.get("published_ap_warning"):
        beside += f"\nwarning: {result['published_ap_warning']}"
    return f"{main}{beside}{others}\nTIDE dAP at IoU .50: {errors}{place}"
