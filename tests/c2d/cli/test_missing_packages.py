"""A command without its packages names the extra that has them."""

from __future__ import annotations

import tomllib

import pytest

from c2d.cli import main
from c2d.cli.missing_packages import BASE, EXTRA_OF, as_missing_package
from c2d.core.errors import InputError
from tests.test_arrows import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_exists() -> None:
    assert set(EXTRA_OF.values()) <= set(PROJECT["optional-dependencies"])


def test_the_packages_of_every_installation_are_known() -> None:
    imported_as = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
    required = [text.partition(">")[0] for text in PROJECT["dependencies"]]
    assert {imported_as.get(name, name) for name in required} == {*BASE, "typer"}  # without typer there is no command
    error = as_missing_package(ModuleNotFoundError("", name="PIL.Image"))
    assert str(error) == "this needs PIL, which is not installed here; pip install c2d-suite"


def test_the_command_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def import_torch(**_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    monkeypatch.setattr(main, "app", import_torch)
    with pytest.raises(SystemExit) as end:
        main.main(["train", "student.yaml"])
    assert end.value.code == 2
    expected = "error: this needs torch, which is not installed here; pip install 'c2d-suite[train]'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("name", ["c2d.core.missing", "somebody", None])
def test_our_own_missing_module_is_a_defect(name: str | None) -> None:
    error = ModuleNotFoundError("No module", name=name)
    assert as_missing_package(error) is error
    assert isinstance(as_missing_package(ModuleNotFoundError("", name="scipy")), InputError)
