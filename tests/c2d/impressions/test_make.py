"""A synthesis is resumed exactly, is the same for the same seed, and leaves its teacher as it was."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2d.core.attempt import Interrupted
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card_lookup import load_card, verify_card
from c2d.impressions import make
from c2d.impressions.batch_files import finished_batches, remove_state_files, save_batch
from c2d.impressions.pixels import optimise
from c2d.impressions.sampling.targets import empty_targets
from c2d.specs.resolve_spec import resolve_spec
from c2d.tracking.tracking import Tracking
from tests.c2d.conftest import TinyStore

SMALL: dict[str, Any] = {
    "images": 5,
    "batch": 3,
    "targets": {"objects": [0, 3], "boxes": "uniform", "side": [0.2, 0.5]},
    "draft": {"iterations": 4, "size": 64},
    "final": {"iterations": 5, "size": 96, "start": "previous"},
    "adaptive": {"start": 1, "interval": 2, "min_score": 0.0, "min_area": 0.0, "max_area": 1.0},
    "augmentation": {"interval": 2, "jitter": 4},
}
STEPS = 2 * (4 + 5)


@pytest.fixture(scope="module")
def teacher_run(tiny_store: TinyStore) -> RunFolder:
    from c2d.training.train import train

    folder = tiny_store.create_run(iterations=2)
    train(folder, tiny_store.options())
    return folder


def synthesise(store: TinyStore, teacher: RunFolder, out: Path, seed: int = 0, changes: dict[str, Any] | None = None,
               **options: Any) -> RunFolder:  # fmt: skip
    values = {"kind": "impressions", "dataset": "scenes", "teachers": {"detector": teacher.id}, "seed": seed,
              "schedule": {"name": "moi", "values": SMALL | (changes or {})}}  # fmt: skip
    spec = resolve_spec(values, where="test", runs=store.runs, data=store.data)
    folder = RunFolder(out / spec.id)
    folder.path.mkdir(parents=True, exist_ok=True)
    card = load_card("scenes", store.data)
    log = logging.getLogger("test")
    make.make_impressions(spec, folder, teacher, card, source=None, log=log, **options)
    return folder


class Tracked(Tracking):
    """Keep what trackers would be sent."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.starts, self.events = list[int](), list[dict[str, Any]]()

    def continue_after(self, iteration: int) -> None:
        self.starts.append(iteration)

    def send(self, event: Any) -> None:
        self.events.append(event)


def content(folder: RunFolder) -> dict[str, bytes]:
    files = [folder.train_annotations, *sorted(folder.train_images.glob("*.png"))]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tiny_store: TinyStore, teacher_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return synthesise(tiny_store, teacher_run, tmp_path_factory.mktemp("whole"))


def test_result_is_a_card_with_the_real_evaluation_split(whole: RunFolder, tiny_store: TinyStore) -> None:
    card = load_card(str(whole.path))
    verify_card(card)
    assert card.card.splits["train"].n_images == 5
    assert card.card.splits["val"].digest == load_card("scenes", tiny_store.data).card.splits["val"].digest
    assert card.card.synthesis is not None
    assert card.card.synthesis.is_data_free
    assert len(content(whole)) == 6
    assert any(whole.checkpoints.iterdir())  # until the run is done
    remove_state_files(whole)
    assert not any(whole.checkpoints.iterdir())


def test_curves_have_every_term_of_both_stages(whole: RunFolder) -> None:
    events = [json.loads(line) for line in whole.metrics.read_text().splitlines()]
    assert [event["iteration"] for event in events] == list(range(1, STEPS + 1))
    assert [event["stage"] for event in events[:9]] == ["draft"] * 4 + ["final"] * 5
    for event in events:
        terms = [value for name, value in event.items() if name.startswith("loss_")]
        assert sum(terms) == pytest.approx(event["loss"], rel=1e-5)
        assert {"loss_detection", "loss_batch_norm", "loss_tv_l1", "loss_l2"} <= set(event)


@pytest.mark.parametrize("stops", [[1, 5, 9, 12], [8, 8]], ids=["four", "same"])
def test_a_stopped_synthesis_continues_exactly(
    whole: RunFolder, tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path, stops: list[int]
) -> None:
    tracked = Tracked(whole)
    for stop in stops:
        with pytest.raises(Interrupted, match="call again"):
            synthesise(tiny_store, teacher_run, tmp_path, stop_after=stop, tracking=tracked)
    folder = synthesise(tiny_store, teacher_run, tmp_path, tracking=tracked)
    assert content(folder) == content(whole)
    assert len(tracked.starts) == 1 + len(stops)
    assert all(start >= stop for start, stop in zip(tracked.starts, [0, *stops], strict=True))  # the next draw
    assert sorted({event["iteration"] for event in tracked.events}) == list(range(1, STEPS + 1))
    iterations = [line.split('"iteration": ')[1].split(",")[0] for line in folder.metrics.read_text().splitlines()]
    assert iterations == [str(step) for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("saved_every_s", [0.0, 1e9], ids=["state", "batches"])
def test_a_killed_synthesis_continues_exactly(
    whole: RunFolder, tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path, saved_every_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(make, "SAVE_S", saved_every_s)
    step = optimise.Optimisation.step
    for fatal in (4, 11):  # steps of each process: in the draft of the first batch, in the final stage of a later one
        taken = []

        def dying(work: Any, fatal: int = fatal, taken: list[int] = taken) -> Any:
            taken.append(1)
            if len(taken) == fatal:
                raise RuntimeError("killed")
            return step(work)

        monkeypatch.setattr(optimise.Optimisation, "step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            synthesise(tiny_store, teacher_run, tmp_path)
    monkeypatch.setattr(optimise.Optimisation, "step", step)
    assert content(synthesise(tiny_store, teacher_run, tmp_path)) == content(whole)


def test_a_state_is_stored_before_the_targets_change(
    tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stored after the change, it would be changed once more by the attempt that continues.
    changed: list[int] = []
    update_all = make.update_all

    def counted(*given: Any) -> Any:
        changed.append(1)
        return update_all(*given)

    monkeypatch.setattr(make, "update_all", counted)
    with pytest.raises(Interrupted):
        synthesise(tiny_store, teacher_run, tmp_path, stop_after=2)  # targets change before the third step
    assert changed == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda rows: rows.pop(), "it has 2 images, wanted 3"),
        (lambda rows: rows[0].update(boxes=[[0, 0, 2, 1]], labels=[0], soft_labels=[[1, 0]]), "boxes outside 0..1"),
        (lambda rows: rows[0].update(boxes=[[0, 0, 1, 1]], labels=[2], soft_labels=[[1, 0]]), "labels outside 0..1"),
        (lambda rows: rows[0].update(boxes=[[0, 0, 1, 1]], labels=[0], soft_labels=[[1, 1]]), "no distributions"),
    ],
    ids=["image", "box", "label", "sum"],
)
def test_a_damaged_batch_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    folder = RunFolder(tmp_path / "run")
    empty = empty_targets(2)
    save_batch(folder, 0, 0, np.zeros((3, 4, 4, 3), np.uint8), [empty] * 3)
    assert len(finished_batches(folder, [3, 1], 2)) == 1
    (path,) = folder.checkpoints.glob("batch_*.json")
    content = json.loads(path.read_text())
    damage(content["images"])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        finished_batches(folder, [3, 1], 2)


def test_a_finished_batch_without_an_image_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    save_batch(folder, 0, 0, np.zeros((1, 4, 4, 3), np.uint8), [empty_targets(2)])
    (folder.train_images / "000000.png").unlink()
    with pytest.raises(InputError, match=r"its image train/000000\.png is gone"):
        finished_batches(folder, [1], 2)


def test_another_seed_makes_other_images(
    whole: RunFolder, tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path
) -> None:
    other = content(synthesise(tiny_store, teacher_run, tmp_path, seed=1))
    assert not set(other.values()) & set(content(whole).values())


def test_a_damaged_state_begins_the_batch_again(
    whole: RunFolder, tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        synthesise(tiny_store, teacher_run, tmp_path, stop_after=6)
    (state,) = tmp_path.glob("*/checkpoints/synthesis.pth")
    state.write_bytes(state.read_bytes()[:100])
    assert content(synthesise(tiny_store, teacher_run, tmp_path)) == content(whole)


def test_a_teacher_without_batch_norm_drops_that_prior_and_says_so(
    tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("c2d.impressions.pixels.priors._BatchNorm", torch.nn.modules.batchnorm.BatchNorm1d)
    with caplog.at_level(logging.WARNING):
        folder = synthesise(tiny_store, teacher_run, tmp_path)
    assert "prior batch_norm is left out: the teacher has no batch norm" in caplog.text
    assert all('"loss_batch_norm"' not in line for line in folder.metrics.read_text().splitlines())


def test_half_precision_is_refused_on_a_cpu(tiny_store: TinyStore, teacher_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision amp-bf16 needs CUDA"):
        synthesise(tiny_store, teacher_run, tmp_path, changes={"precision": "amp-bf16"})


def test_result_says_what_was_made(whole: RunFolder) -> None:
    assert read_json(whole.path / "card.json")["synthesis"]["schedule"] == "moi"
