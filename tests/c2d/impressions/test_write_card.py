"""Card and annotation file of a synthesis: boxes, soft labels, splits, digests."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
import torch
from PIL import Image

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.card import CARD_FILE, LoadedCard, Synthesis
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco_file import read_coco
from c2d.impressions.sampling.targets import Targets, empty_targets
from c2d.impressions.write_card import ImageFiles, read_targets, round_soft_label, write_card

SYNTHESIS = Synthesis(
    images_from="optimised", run="", schedule="moi", teacher="teacher-s0", teacher_sha256="0" * 64, soft_labels=True
)


def some_targets(soft: tuple[float, ...] = (0.25, 0.5, 0, 0, 0, 0.25, 0, 0)) -> Targets:
    """Two objects; the first sticks out of the image, the second has a soft label that is not for its class."""
    boxes = torch.tensor([[-0.1, 0.25, 0.5, 0.75], [0.5, 0.5, 1.0, 0.875]])
    return Targets(boxes, torch.tensor([3, 0]), torch.stack([torch.eye(8)[3], torch.tensor(soft)]))


@pytest.fixture
def real(tiny_store) -> LoadedCard:
    return load_card("scenes", tiny_store.data)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "moi-impressions-0123456789ab-s0")
    folder.train_images.mkdir(parents=True)
    for name in ("000000.png", "000001.png"):
        Image.new("RGB", (200, 80)).save(folder.train_images / name)
    return folder


FILES = ImageFiles(("000000.png", "000001.png"), ((200, 80), (200, 80)))


def test_a_card_by_hand(folder, real):
    card = write_card(folder, real, [some_targets(), empty_targets(8)], FILES, SYNTHESIS)
    coco = read_coco(folder.train_annotations)
    first, second = coco["annotations"]
    assert first["bbox"] == [0, 20, 100, 40]
    assert first["area"] == 4000
    assert second["bbox"] == [100, 40, 100, 30]
    assert [row["image_id"] for row in (first, second)] == [1, 1]
    names = {item["id"]: item["name"] for item in coco["categories"]}
    assert [names[row["category_id"]] for row in (first, second)] == ["saddled", "banded"]
    assert first["soft_label"] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert second["soft_label"] == [0.25, 0.5, 0, 0, 0, 0.25, 0, 0]
    assert [row["iscrowd"] for row in coco["annotations"]] == [0, 0]
    assert [row["file_name"] for row in coco["images"]] == ["000000.png", "000001.png"]
    assert (card.splits["train"].n_images, card.splits["train"].n_boxes) == (2, 2)
    assert (card.splits["train"].images, card.splits["train"].annotations) == ("train", "annotations/train.json")
    assert card.splits["val"].digest == real.card.splits["val"].digest
    assert card.splits["val"].annotations == str(real.annotations("val").resolve())
    assert card.classes == real.card.classes
    assert card.synthesis == SYNTHESIS
    assert card.name == folder.id


def test_the_card_is_a_data_set(folder, real):
    """It can be found by its path, and its files are those of the card."""
    write_card(folder, real, [some_targets(), empty_targets(8)], FILES, SYNTHESIS)
    loaded = load_card(str(folder.path))
    verify_card(loaded, {"val": 0, "train": 32})
    assert loaded.images("train") == folder.train_images
    assert folder.card == folder.path / CARD_FILE


def test_equal_input_gives_equal_bytes(folder, real):
    targets = [some_targets(), empty_targets(8)]
    write_card(folder, real, targets, FILES, SYNTHESIS)
    before = [path.read_bytes() for path in (folder.card, folder.train_annotations)]
    write_card(folder, real, targets, FILES, SYNTHESIS)
    assert before == [path.read_bytes() for path in (folder.card, folder.train_annotations)]


def test_targets_survive_the_file(folder, real):
    """What a control reads from a card and writes again is the same file."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=generator) * 0.7
    boxes = torch.cat([corners, corners + 0.05 + 0.2 * torch.rand(40, 2, generator=generator)], dim=1)
    soft = torch.rand(40, 8, generator=generator).softmax(dim=1)
    given = [Targets(boxes, soft.argmax(dim=1), soft), empty_targets(8)]
    write_card(folder, real, given, FILES, SYNTHESIS)
    first = folder.train_annotations.read_bytes()
    read = read_targets(read_coco(folder.train_annotations))
    assert [len(one) for one in read] == [40, 0]
    assert torch.allclose(read[0].boxes, boxes, atol=0.005 / 80)
    write_card(folder, real, read, FILES, SYNTHESIS)
    assert folder.train_annotations.read_bytes() == first


def test_hard_labels_have_no_soft_label(folder, real):
    hard = [Targets(torch.tensor([[0.1, 0.1, 0.5, 0.5]]), torch.tensor([2]), torch.eye(8)[[2]]), empty_targets(8)]
    write_card(folder, real, hard, FILES, SYNTHESIS.model_copy(update={"soft_labels": False}))
    coco = json.loads(folder.train_annotations.read_text())
    assert "soft_label" not in coco["annotations"][0]
    assert torch.equal(read_targets(coco)[0].soft_labels, hard[0].soft_labels)


def test_a_rounded_soft_label_sums_to_one():
    drawn = np.random.default_rng(0).dirichlet(np.full(80, 0.3), 50).tolist()
    for row in [*drawn, [1.0], [0.0, 2.0]]:
        rounded = round_soft_label(row)
        assert sum(Decimal(repr(value)) for value in rounded) == 1
        assert max(abs(a - b / sum(row)) for a, b in zip(rounded, row, strict=True)) < 1.000001e-6


def test_refuses_boxes_that_training_would_drop(folder, real):
    thin = Targets(torch.tensor([[0.5, 0.5, 0.502, 0.9]]), torch.tensor([0]), torch.eye(8)[[0]])
    with pytest.raises(InputError, match=r"000000.png: a target of 0.4 x 32.0 px; wanted at least 1 px"):
        write_card(folder, real, [thin, empty_targets(8)], FILES, SYNTHESIS)
    assert not folder.card.exists()


def test_refuses_a_card_that_is_evaluated_on_train(folder, real):
    card = real.card.model_copy(update={"evaluation_split": "train"})
    with pytest.raises(InputError, match="evaluated on its split 'train'"):
        write_card(folder, LoadedCard(card, real.root), [some_targets(), empty_targets(8)], FILES, SYNTHESIS)
