"""`c2d train`, `c2d evaluate`, `c2d methods`: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

Runs = Annotated[Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")]
Data = Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")]


def train(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC.yaml|RUN", help="a question (docs/spec.md), or a run to continue")
    ],
    runs: Runs = None,
    data: Data = None,
    workers: Annotated[int, typer.Option(min=0, help="data loading processes; results do not depend on it")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of this process")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="iterations (default: a tenth of the run)")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="allow torchvision to fetch pretrained weights")] = False,
    stop_after: Annotated[
        int | None, typer.Option("--stop-after", min=1, help="save and leave after this iteration, to see that it runs")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="log to log.txt only")] = False,
) -> None:
    """Train one run, export the stock student and evaluate it; call again to continue an interrupted one."""
    from c2d.attempt import Interrupted
    from c2d.errors import Busy, InputError
    from c2d.question import ask, find_run, read_yaml, store
    from c2d.runfolder import RunFolder, atomic_write_json, read_json

    root, created = store(runs), False
    if spec.endswith((".yaml", ".yml")):
        given = read_yaml(Path(spec))
        question = ask(given, where=spec, runs=root, data=data)
        data = data or _root_of(given["dataset"])
        folder = RunFolder(root / question.id)
        if not folder.spec.exists():
            created = not folder.path.exists()
            atomic_write_json(folder.spec, question.to_json())
        elif read_json(folder.spec) != json.loads(json.dumps(question.to_json())):
            raise InputError(
                f"{folder.path} holds another question than {spec}; move that folder away, or use another --runs"
            )
    else:
        folder = find_run(spec, root)
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
    from c2d.train import Machine, train

    try:
        result = train(folder, Machine(data, workers, checkpoint_every, download, quiet, stop_after))
    except Interrupted as stop:
        if not stop.planned:
            raise
        print(f"{stop}\nrun folder: {folder.path}")
        return
    except InputError as error:
        if (
            created
            and int(os.environ.get("RANK", "0")) == 0
            and not folder.log.exists()
            and not isinstance(error, Busy)  # then it is somebody else's as well
        ):  # refused at the door: leave nothing behind
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    if result:
        print(summary(result))
        print(f"run folder: {folder.path}")


def _root_of(dataset: Any) -> Path | None:
    """Where to look for a data set that was given by path: the folder around its card's; None for a name."""
    if not isinstance(dataset, str) or not Path(dataset).exists():
        return None
    path = Path(dataset)
    return (path.parent if path.is_file() else path).absolute().parent


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
    runs: Runs = None,
    out: Annotated[Path | None, typer.Option(help="where to write the result (JSON)")] = None,
) -> None:
    """Evaluate exported weights: the numbers of a run again, or of any stock config, checkpoint and data set."""
    from c2d.evaluation import evaluate_files, evaluate_run
    from c2d.question import store

    if run is not None:
        result, lines = evaluate_run(run, store(runs), Path(card) if card else None, check)
    else:
        result, lines = evaluate_files(config, checkpoint, card, store(runs), check)
    for line in lines:
        print(line)
    print(summary(result))
    if out is not None:
        from c2d.runfolder import atomic_write_json

        atomic_write_json(out, result)


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="one method, with its parameters")] = None,
) -> None:
    """List the distillation methods, or the parameters of one with defaults."""
    from c2d.errors import unknown
    from c2d.question import distiller_catalog

    catalog = distiller_catalog()
    if name is None:
        for key, entry in catalog.items():
            print(
                f"{key:12} v{entry['version']}  teachers: {', '.join(entry['teachers']) or 'none':12} {entry['title']}"
            )
        return
    if name not in catalog:
        raise unknown("method", name, catalog, "see `c2d methods`")
    print(f"{name} (version {catalog[name]['version']}): {catalog[name]['title']}\n")
    for key, rule in catalog[name]["schema"]["properties"].items():
        default = json.dumps(rule.get("default"))
        print(f"  {key:14} default {default:22} {rule.get('description', '')}")


def summary(result: dict[str, Any]) -> str:
    """The numbers of a result in one or two lines; undefined ones are a dash."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    if result["kind"] == "classifier":
        scores = f"top-1 {percent(result['top1'])}  top-5 {percent(result['top5'])}  ECE {percent(result['ece'])}"
        return f"{scores}  ({result['n']} held-out crops)"
    main = "  ".join(f"{key} {percent(result[key])}" for key in ("AP", "AP50", "AP75", "APs", "APm", "APl"))
    errors = "  ".join(f"{key} {percent(value)}" for key, value in result["tide"]["dAP"].items())
    return f"{main}\nTIDE dAP at IoU .50: {errors}"
