"""Configs that c2d did not write: JSON and YAML execute nothing, and weight files are taken out of any of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.model import PretrainedInit

from c2d.configs.foreign_config import read_config, remove_weight_files
from c2d.core.errors import InputError

MODEL = {"type": "RetinaNet", "_scope_": "mmdet", "backbone": {"type": "ResNet", "depth": 18}}


def written(folder: Path, values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_json_and_yaml_are_read_as_data(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"config{suffix}"
    path.write_text(json.dumps({"model": MODEL, "custom_imports": None}))  # JSON is YAML
    config = read_config(path)
    assert config["model"]["backbone"]["depth"] == 18
    assert config.filename == str(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_base_": "evil.py", "model": MODEL}, "has the key _base_"),
        ({"_base_": ["evil.py"], "model": MODEL}, "has the key _base_"),
        ({"model": {**MODEL, "neck": {"_base_": "evil.py"}}}, r"has the key model\.neck\._base_"),
        ({"model": MODEL, "custom_imports": {"imports": ["evil"]}}, "has the key custom_imports"),
        ({"model": {**MODEL, "_scope_": "evil"}}, r"has the key model\._scope_"),
        (
            {"model": MODEL, "pipeline": [{"a": ["{{ $HOME:x }}"]}]},
            r"the template '{{ \$HOME:x }}' at pipeline\.0\.a\.0",
        ),
        (["model"], "holds a list, not keys and values; give a whole mmdet config"),
    ],
)
def test_json_that_asks_to_execute_is_refused(values: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'executed')!r})\n")
    with pytest.raises(InputError, match=message) as caught:
        read_config(written(tmp_path, values))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_yaml_tag_is_not_called(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"model: !!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']\n")
    with pytest.raises(InputError, match=r"config\.yaml:1: model: the tag .* is not allowed"):
        read_config(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.py", "raise ValueError('one\\ntwo')", "cannot read .*one; give a whole mmdet config"),
        ("a.py", "model = dict(", "cannot read"),
        ("a.json", "{", "is not valid JSON"),
        ("a.txt", "model", "cannot read .*; give a whole mmdet config"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_config(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no config .*; give a whole mmdet config"):
        read_config(tmp_path / "none.py")


def test_weight_files_are_removed_and_other_initialisations_stay() -> None:
    loads = {"type": "Pretrained", "checkpoint": "x.pth"}
    kaiming = {"type": "Kaiming", "layer": "Conv2d"}
    model = {
        "type": "LD",
        "init_cfg": loads,
        "pretrained": "torchvision://resnet18",
        "teacher_ckpt": "https://example.org/x.pth",
        "backbone": {"depth": 18, "pretrained": None, "init_cfg": [kaiming, loads]},
        "neck": {"init_cfg": {"type": PretrainedInit, "checkpoint": "x.pth"}},
        "stages": (
            {"init_cfg": {"type": "mmengine.model.PretrainedInit", "checkpoint": "x.pth"}},
            {"init_cfg": kaiming},
        ),
        "head": {"init_cfg": {**kaiming, "override": loads}},
    }
    remove_weight_files(model)
    assert model == {
        "type": "LD",
        "backbone": {"depth": 18, "pretrained": None, "init_cfg": [kaiming]},
        "neck": {},
        "stages": ({}, {"init_cfg": kaiming}),
        "head": {"init_cfg": kaiming},
    }
