"""Files of text embeddings: written and read, damaged ones, and a text tower with a stand-in for open_clip."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from c2d.core.errors import InputError
from c2d.preflight.write_text_embeddings import write_text_embeddings
from c2d.teachers.fitting.text_embeddings import FORMAT, random_embeddings, read_embeddings, write_embeddings
from c2d.teachers.fitting.text_tower import embed_names


def test_a_file_comes_back(tmp_path: Path) -> None:
    made = random_embeddings(["ant", "bee"], 6, seed=4)
    write_embeddings(tmp_path / "text", made)
    read = read_embeddings(tmp_path / "text")
    assert torch.equal(read.vectors, made.vectors)
    assert (read.names, read.scale, read.bias, read.random_seed) == (("ant", "bee"), 100.0, 0.0, 4)
    assert read.origin == "random text embeddings (seed 4)"
    torch.testing.assert_close(read.vectors.norm(dim=1), torch.ones(2))
    assert torch.equal(random_embeddings(["ant", "bee"], 6, seed=4).vectors, made.vectors)
    assert torch.equal(read.of_classes(["bee"]).vectors, made.vectors[1:])
    with pytest.raises(InputError, match="unknown class in the text embeddings 'Ant'; did you mean 'ant'"):
        read.of_classes(["Ant"])


METADATA = {
    "format": FORMAT,
    "names": '["ant", "bee"]',
    "model": "m",
    "templates": "[]",
    "scale": "1.0",
    "bias": "0.0",
    "random_seed": "",
}


@pytest.mark.parametrize(
    ("metadata", "rows", "message"),
    [
        ({"format": "other"}, torch.eye(2), "no text embeddings of c2d"),
        ({"names": '["ant"]'}, torch.eye(2), "one row of fp32 numbers for each name"),
        ({"names": '["ant", "ant"]'}, torch.eye(2), "there twice"),
        ({"names": '["ant", 3]'}, torch.eye(2), "no lists of text"),
        ({"names": "["}, torch.eye(2), "is damaged"),
        ({"scale": "nan"}, torch.eye(2), "wanted finite numbers"),
        ({"scale": "0"}, torch.eye(2), "the scale above 0"),
        ({"random_seed": "x"}, torch.eye(2), "is damaged"),
        ({}, 2 * torch.eye(2), "another length than 1"),
        ({}, torch.eye(2).half(), "fp32"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, metadata: Any, rows: torch.Tensor, message: str) -> None:
    save_file({"embeddings": rows}, tmp_path / "text", {**METADATA, **metadata})
    with pytest.raises(InputError, match=message):
        read_embeddings(tmp_path / "text")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(json.dumps({"names": []}))
    with pytest.raises(InputError, match=r"is no \.safetensors file"):
        read_embeddings(tmp_path / "text")
    save_file({"embeddings": torch.eye(2)}, tmp_path / "text")
    with pytest.raises(InputError, match="no text embeddings of c2d"):
        read_embeddings(tmp_path / "text")


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A stand-in: a prompt is embedded as (number of its letters a, number of its letters b)."""

    class Tower(torch.nn.Module):
        logit_scale, logit_bias = torch.tensor(2.0).log(), torch.tensor([-3.0])

        def encode_text(self, tokens: list[str]) -> torch.Tensor:
            assert not self.training
            return torch.tensor([[float(text.count("a")), float(text.count("b"))] for text in tokens])

    module = types.SimpleNamespace(
        create_model_and_transforms=lambda name, pretrained: (Tower(), None, None),
        get_tokenizer=lambda name: list,
    )
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return module


def test_prompts_are_averaged_by_hand(open_clip: Any, tmp_path: Path) -> None:
    found = embed_names(["a", "b"], "open_clip:ViT/x", ("{}", "aab {}{}"), download=True)
    # "a" is (1, 0); "aab aa" is (4, 1) / sqrt 17. "b" is (0, 1); "aab bb" is (2, 3) / sqrt 13.
    first = torch.tensor([1.0, 0.0]) + torch.tensor([4.0, 1.0]) / 17**0.5
    second = torch.tensor([0.0, 1.0]) + torch.tensor([2.0, 3.0]) / 13**0.5
    torch.testing.assert_close(found.vectors, torch.stack([first / first.norm(), second / second.norm()]))
    assert (found.scale, found.bias, found.random_seed) == (pytest.approx(2.0), -3.0, None)
    (tmp_path / "prompts.txt").write_text("a {}\n")
    line = write_text_embeddings(
        "a,b", "open_clip:ViT/x", tmp_path / "t", templates=tmp_path / "prompts.txt", download=True
    )
    assert line.endswith("2 classes, 2 numbers each: text embeddings of open_clip:ViT/x, 1 templates")
    assert read_embeddings(tmp_path / "t").templates == ("a {}",)


def test_mistakes_of_the_command(open_clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(names: str = "a,b", model: str = "open_clip:ViT/x", **options: Any) -> str:
        return write_text_embeddings(names, model, tmp_path / "t", **options)

    with pytest.raises(InputError, match="allow it with --download"):
        write()
    with pytest.raises(InputError, match="not of the form open_clip:MODEL/WEIGHTS"):
        write(model="ViT-B-16")
    with pytest.raises(InputError, match="names 'a' twice"):
        write("a,a")
    with pytest.raises(InputError, match=r"none\.txt: is missing; give a text file with one prompt a line"):
        write(templates=tmp_path / "none.txt", download=True)
    with pytest.raises(InputError, match="'scnes' is no data card and no file here"):
        write("scnes", model="resnet18", random=3)
    with pytest.raises(InputError, match="leave one out"):
        write(model="resnet18", random=3, templates=tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        write_text_embeddings("a,b", "resnet18", tmp_path, random=3)
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(InputError, match="has no prompt"):
        write(templates=tmp_path / "blank.txt", download=True)
    (tmp_path / "prompts.txt").write_text("a photo\n")
    with pytest.raises(InputError, match="'a photo' has no "):
        write(templates=tmp_path / "prompts.txt", download=True)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"pip install 'c2d-suite\[text\]'"):
        write(download=True)
    assert not (tmp_path / "t").exists()
    assert "random text embeddings (seed 3)" in write(model="resnet18", random=3)
    assert read_embeddings(tmp_path / "t").vectors.shape == (2, 512)
