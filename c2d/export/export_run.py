"""`c2d export`: write a finished run for others, whole or not at all."""

from __future__ import annotations

import getpass
import importlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from c2d.configs.run_config import read_run_config
from c2d.core.disk import disk_error, make_draft_folder
from c2d.core.errors import InputError, RunError, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import find_card, verify_card
from c2d.evaluation.datasets import build_dataset, held_out_dataset
from c2d.evaluation.stock_model import load_student
from c2d.export.exported_facts import RunFacts, check_no_places, run_facts
from c2d.export.graph_parity import AP, Parity, ap_of_graph, compare, resized_images
from c2d.export.image_preparation import ImagePreparation, image_preparation
from c2d.export.model_card import CARD, LICENCE, UNKNOWN, licence_text, model_card
from c2d.export.onnx_graph import example_image, write_onnx
from c2d.export.provenance_file import PROVENANCE, provenance
from c2d.export.runtimes import IR, ONNX, OPEN, write_openvino
from c2d.export.student_files import write_hub_config, write_stock_student
from c2d.specs.spec import parse_spec

KINDS = ("folder", "onnx", "openvino")
NEEDS = {"folder": ("safetensors",), "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "onnxruntime", "openvino")}
"""Packages of each kind."""
GRAPHS = {"onnx": ONNX, "openvino": IR}
IMAGES = 8
"""Images on which a graph is compared by default."""


@dataclass(frozen=True)
class ExportOptions:
    """How a run is exported.

    Attributes:
        kinds: of `KINDS`.
        data: root of the data cards; None: C2D_DATA, else ./data.
        images: of the evaluation split, to compare graphs on.
        check: measure the AP of every graph on the whole split, too.
        licence: of the weights, an identifier of the hub.
    """

    kinds: tuple[str, ...] = ("folder",)
    data: Path | None = None
    images: int = IMAGES
    check: bool = False
    licence: str = UNKNOWN


def export_run(
    folder: RunFolder, out: Path, runs: Path, options: ExportOptions, print_line: Callable[[str], None] = print
) -> list[Path]:
    """Export a run into a new folder.

    Args:
        folder: a finished run of a detector. It is not changed.
        out: the new folder.
        runs: the store, which knows where data sets lie.
        options: what is written.
        print_line: called with each line of progress.

    Returns:
        The files that were written.

    Raises:
        InputError: the run is not finished or no detector, `out` exists, or the student has something that a graph
            cannot hold.
        ModuleNotFoundError: a package of an extra is missing.
        RunError: a graph does not agree with the stock student.
    """
    _check(folder, out, options)
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    config = read_run_config(folder)
    dataset = config["test_dataloader"]["dataset"]
    classes = tuple(dataset["metainfo"]["classes"])
    facts = run_facts(folder, classes, options.licence)
    graphs = [kind for kind in options.kinds if kind in GRAPHS]
    card = None
    if graphs:
        card = find_card(spec.dataset.name, spec.dataset.digest, options.data, runs)
        verify_card(card, {card.evaluation_split: 0})
    try:
        draft = make_draft_folder(out)
    except OSError as error:
        raise disk_error(out, error, "give another OUT") from error
    try:
        preparation = _preparation(config, bool(graphs))
        write_hub_config(config, classes, preparation, draft)
        if "folder" in options.kinds:
            write_stock_student(config, folder.student, classes, draft)
        parities: list[Parity] = []
        if card is not None and preparation is not None:
            parities = _write_graphs(folder, config, card, preparation, graphs, draft, options, facts, print_line)
        (draft / LICENCE).write_text(licence_text(facts) + "\n", encoding="utf-8")
        names = [path.name for path in draft.iterdir()]
        (draft / CARD).write_text(model_card(facts, names, parities), encoding="utf-8")
        content = json.dumps(provenance(facts, parities, draft), indent=2, ensure_ascii=False)
        (draft / PROVENANCE).write_text(content + "\n", encoding="utf-8")
        check_no_places(draft, _places(folder, runs, card))
        draft.rename(out)
    except BaseException as error:
        with suppress(OSError):
            shutil.rmtree(draft)
        if isinstance(error, OSError):
            raise disk_error(out, error, "give another OUT") from error
        raise
    return sorted(out.iterdir())


def _check(folder: RunFolder, out: Path, options: ExportOptions) -> None:
    """Check what can be checked before any work."""
    for kind in options.kinds:
        if kind not in KINDS:
            raise unknown_name("--to", kind, KINDS)
        for package in NEEDS[kind]:
            importlib.import_module(package)  # the command names the extra that has a missing one
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", options.licence):
        raise InputError(
            f"--license {options.licence!r} is no identifier of the hub; give apache-2.0, cc-by-4.0, other or unknown"
        )
    if os.path.lexists(out):
        raise InputError(f"{out} exists; give the name of a new folder, or remove it first")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: {out.absolute().parent} is no folder; make it first")
    if not folder.is_done:
        raise InputError(
            f"run {folder.id} is {folder.try_read_status()['state']}; finish it first: c2d train {folder.path}"
        )
    if not folder.student.is_file():
        raise InputError(
            f"run {folder.id} has no {folder.student.name} here; only detectors with their weights are exported"
        )


def _preparation(config: Any, needed: bool) -> ImagePreparation | None:
    """How images are prepared; None where the rules have no form here and no graph needs them."""
    try:
        return image_preparation(config)
    except InputError:
        if needed:
            raise
        return None


def _write_graphs(
    folder: RunFolder, config: Any, card: LoadedCard, preparation: ImagePreparation, kinds: Sequence[str], draft: Path,
    options: ExportOptions, facts: RunFacts, print_line: Callable[[str], None],
) -> list[Parity]:  # fmt: skip
    """Write the graphs into the draft, and compare each with the stock student."""
    model, _ = load_student(config, folder.student)
    dataset = build_dataset(held_out_dataset(config, card, "student"))
    # ONNX is the source of the OpenVINO model, and stays only where it was asked for.
    notes = {"run": facts.run, "classes": json.dumps(facts.classes), "license": facts.licence}
    write_onnx(model, preparation, example_image(preparation), draft / ONNX, notes)
    if "openvino" in kinds:
        write_openvino(draft / ONNX, draft / IR)
    if "onnx" not in kinds:
        (draft / ONNX).unlink()
    count = min(options.images, len(dataset))
    indices = [place * len(dataset) // count for place in range(count)]
    images = resized_images(model, dataset, indices, preparation)
    parities = []
    for kind in kinds:
        detect = OPEN[GRAPHS[kind]](draft / GRAPHS[kind])
        one = compare(GRAPHS[kind], detect, images)
        print_line(
            f"{one.file}: {one.detections} detections on {one.images} images agree, {one.unmatched} without a partner; "
            f"largest difference {one.box_px or 0:.2g} px, {one.score or 0:.2g} of score"
        )
        if options.check:
            one = replace(one, ap=_checked_ap(one.file, detect, dataset, card, folder, facts))
            print_line(f"{one.file}: AP {100 * (one.ap or 0):.2f} from the image files, the run has {_ap_text(facts)}")
        parities.append(one)
    return parities


def _checked_ap(file: str, detect: Any, dataset: Any, card: LoadedCard, folder: RunFolder, facts: RunFacts) -> float:
    """Return the AP of a graph on the whole split.

    Raises:
        RunError: it is not that of the run.
    """
    from c2d.evaluation.evaluate_detector import load_ground_truth

    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    images = [(int(info["img_id"]), Path(info["img_path"])) for info in infos]
    ap = ap_of_graph(detect, images, list(dataset.cat_ids), load_ground_truth(card, folder))
    if abs(ap - (facts.result.get("AP") or 0.0)) > AP:
        raise RunError(
            f"{file} has AP {100 * ap:.2f} on the image files and the run {_ap_text(facts)}, more than "
            f"{100 * AP:.1f} apart; nothing was written: use --to folder",
            "data",
        )
    return ap


def _ap_text(facts: RunFacts) -> str:
    value = facts.result.get("AP")
    return "none" if value is None else f"{100 * value:.2f}"


def _places(folder: RunFolder, runs: Path, card: LoadedCard | None) -> tuple[str, ...]:
    """Names of this machine that no file may have."""
    found = [str(folder.path.resolve()), str(runs.resolve()), str(Path.home()), str(Path.cwd()), socket.gethostname()]
    if card is not None:
        found += [str(card.root.resolve()), str(card.images(card.evaluation_split))]
    with suppress(OSError, KeyError, ImportError):
        found.append(getpass.getuser())
    return tuple(found)
