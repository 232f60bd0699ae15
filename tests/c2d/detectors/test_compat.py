"""compat: errors for missing ops, the repair of SSD, and a quiet import. Values of the ops: test_compat_ops.py."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("mmdet", reason="mmdet is not installed")

from c2d.detectors import compat

REPORT = compat.prepare()
ops = importlib.import_module("mmcv.ops")  # only now: without compiled ops it needs the stand-in
stand_in_only = pytest.mark.skipif(REPORT.ext == "compiled", reason="this mmcv has compiled ops, nothing stands in")


# ------------------------------------------------------------------------------------------- what is missing


def ops_of_mmcv() -> list[str]:
    """Every name that mmcv's Python code needs of its extension."""
    source = "".join(p.read_text(encoding="utf-8") for p in Path(ops.__path__[0]).glob("*.py"))
    lists = re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]", source, re.DOTALL)
    return sorted(set(re.findall(r"'(\w+)'", " ".join(lists))))


SERVED = {"nms", "roi_align_forward", "roi_align_backward", "sigmoid_focal_loss_forward", "sigmoid_focal_loss_backward"}
SERVED |= {"get_compiler_version", "get_compiling_cuda_version"}
SERVED |= {"deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters"}
SERVED |= {"modulated_deform_conv_forward", "modulated_deform_conv_backward"}
SERVED |= {"ms_deform_attn_forward", "ms_deform_attn_backward"}


@stand_in_only
def test_every_other_op_exists_and_raises_with_its_name_and_the_remedy() -> None:
    extension = importlib.import_module(compat.EXTENSION)
    names = [name for name in ops_of_mmcv() if name not in SERVED]
    assert len(names) > 90
    for name in names:
        with pytest.raises(compat.MissingOp, match=rf"'{name}'.*pip install --no-build-isolation") as caught:
            getattr(extension, name)(1, key=2)
        assert "\n" not in str(caught.value)


@stand_in_only
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: ops.soft_nms(torch.rand(3, 4), torch.rand(3)), "softnms"),
        (lambda: ops.RoIPool(2)(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]])), "roi_pool_forward"),
        (lambda: ops.softmax_focal_loss(torch.zeros(2, 3), torch.tensor([0, 1])), "softmax_focal_loss_forward"),
    ],
)
def test_public_functions_of_mmcv_pass_the_error_on(call: Callable[[], Any], name: str) -> None:
    with pytest.raises(compat.MissingOp, match=name):
        call()


@stand_in_only
def test_the_replacement_behaves_as_an_ordinary_module() -> None:
    from mmcv.utils import collect_env
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    extension = sys.modules[compat.EXTENSION]
    assert importlib.util.find_spec(compat.EXTENSION) is extension.__spec__ is not None
    assert mmcv_full_available()
    assert not hasattr(extension, "__wrapped__")
    assert inspect.getmodule(compat.prepare) is compat  # inspect walks through all modules
    assert "stand-in" in collect_env()["MMCV Compiler"]


def test_prepare_reports_once_and_leaves_one_finder() -> None:
    assert compat.prepare() is REPORT
    assert REPORT.ext in ("compiled", "stand-in")
    assert REPORT.flavour in compat.FLAVOURS
    assert REPORT.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert sum(isinstance(finder, compat._Finder) for finder in sys.meta_path) <= 1


@pytest.mark.parametrize(
    ("code", "outcome"), [("nms = 'its own'", "compiled"), ("raise ImportError('undefined symbol: _ZN5')", "broken")]
)
def test_a_compiled_extension_is_used_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, outcome: str
) -> None:
    import mmcv

    (tmp_path / "_ext.py").write_text(code)
    monkeypatch.setattr(mmcv, "__path__", [str(tmp_path), *mmcv.__path__])
    monkeypatch.delitem(sys.modules, compat.EXTENSION)
    monkeypatch.delattr(mmcv, "_ext", raising=False)
    if outcome == "compiled":
        assert compat._supply_extension() == "compiled"
        assert sys.modules[compat.EXTENSION].nms == "its own"
    else:
        with pytest.raises(compat.HostError, match=r"cannot be loaded \(undefined symbol.*pip install"):
            compat._supply_extension()


def test_absent_host_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(compat.importlib, "import_module", absent)
    with pytest.raises(compat.HostError, match=r"mmcv is not installed.*pip install onedl-mmengine") as caught:
        compat._supply_extension()
    assert caught.value.exit_code == 2


# ------------------------------------------------------------------------------------------------------- SSD


def ssd_head(**kwargs: Any) -> Any:
    from mmdet.models.dense_heads import SSDHead

    anchors = {"type": "AnchorGenerator", "strides": [8], "ratios": [1.0], "scales": [4.0]}
    return SSDHead(num_classes=2, in_channels=(4,), anchor_generator=anchors, **kwargs)


def test_ssd_predicts_and_gains_no_key() -> None:
    from mmengine.config import ConfigDict

    nms = {"type": "nms", "iou_threshold": 0.5}
    head = ssd_head(test_cfg=ConfigDict(nms_pre=10, min_bbox_size=0, score_thr=0.0, max_per_img=5, nms=nms))
    assert {key.split(".")[0] for key in head.state_dict()} == {"cls_convs", "reg_convs"}
    scores, deltas = head((torch.randn(1, 4, 5, 5),))
    meta = {"img_shape": (40, 40), "scale_factor": (1.0, 1.0), "ori_shape": (40, 40)}
    (found,) = head.predict_by_feat(scores, deltas, batch_img_metas=[meta], rescale=False)
    assert 0 < len(found.bboxes) <= 5


def test_the_ssd_repair_hides_nothing() -> None:
    head = ssd_head()
    assert head.loss_cls is None
    with pytest.raises(AttributeError, match="no attribute 'loss_bboxes'"):
        head.loss_bboxes  # noqa: B018
    own = nn.CrossEntropyLoss()
    head.loss_cls = own  # a head that has one, of a later mmdet or a subclass, keeps it
    assert head.loss_cls is own


# -------------------------------------------------------------------------------------------- quiet, and alone


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300, check=False
    )


def test_importing_the_host_prints_nothing_and_needs_this_one_file(tmp_path: Path) -> None:
    """mmdet with a copy of compat.py: quiet, nothing else of ours imported, SSD and ops work."""
    shutil.copy(str(compat.__file__), tmp_path)
    code = (
        "import random, sys, compat, numpy, torch; before = random.getstate(), torch.get_rng_state().tolist();"
        "drawn = str(numpy.random.get_state()); compat.prepare();"
        "assert before == (random.getstate(), torch.get_rng_state().tolist());"
        "assert drawn == str(numpy.random.get_state());"
        "report = compat.prepare(); import mmdet.apis; from mmcv.ops import nms;"
        "from mmdet.registry import MODELS; from mmdet.utils import register_all_modules; register_all_modules();"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'c2d'];"
        "assert MODELS.get('SSDHead') is not None"
    )
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_the_listed_lines_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with compat.quiet_import():
            print(compat.DROPPED_LINES[0])
            print("something else")
            warnings.warn(f"{compat.DROPPED_WARNINGS[0]}, metrics will not be computed", stacklevel=1)
            warnings.warn("a real warning", stacklevel=1)
    assert capsys.readouterr().out == "something else\n"
    assert [str(item.message) for item in caught] == ["a real warning"]


def test_what_was_printed_before_an_error_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with compat.quiet_import():
            print("a clue")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr().out == "a clue\n"
