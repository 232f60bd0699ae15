"""safeload: what is refused and not executed, what is read, and that the audit is true."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.weights import safe_load


class Evil:
    """Creates a file when a careless reader unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def plain(protocol: int) -> Callable[[Path, Evil], None]:
    def write(path: Path, evil: Evil) -> None:
        path.write_bytes(pickle.dumps({"state_dict": evil}, protocol=protocol))

    return write


def torch_zip(path: Path, evil: Evil) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "meta": evil}, path)


def torch_zip4(path: Path, evil: Evil) -> None:
    torch.save({"w": torch.zeros(2), "meta": evil}, path, pickle_protocol=4)


def torch_legacy(path: Path, evil: Evil) -> None:
    torch.save({"w": torch.zeros(2), "meta": evil}, path, _use_new_zipfile_serialization=False)


def torch_tar(path: Path, evil: Evil) -> None:
    data = pickle.dumps(evil, 2)
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle", "sys_info"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


STYLES = {f"pickle{p}": plain(p) for p in range(6)} | {
    "zip": torch_zip, "zip4": torch_zip4, "legacy": torch_legacy, "tar": torch_tar,
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_a_malicious_pickle_is_refused_in_one_line_and_not_executed(tmp_path: Path, style: str) -> None:
    marker, path = tmp_path / "executed", tmp_path / "weights.pth"
    STYLES[style](path, Evil(marker))
    with pytest.raises(safe_load.Refused) as caught:
        safe_load.load(path)
    assert not marker.exists()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "state_dict()" in message
    assert caught.value.exit_code == 2
    if style != "tar":
        assert "posix.mkdir" in message or "nt.mkdir" in message
    # the same file through every way in that fills a model
    for who in ("teacher", "student", "backbone"):
        with pytest.raises(safe_load.Refused):
            safe_load.load_into(nn.Linear(1, 1), path, who=who, strict=True)
    assert not marker.exists()


def test_the_pickles_above_run_code_without_protection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without the protection the code of the file runs."""
    path = tmp_path / "weights.pth"
    torch_zip(path, Evil(tmp_path / "executed"))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # `mmdet_scope` sets it
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").is_dir()


class Fetch:
    """`getattr` occurs in mmengine's checkpoints, so its name is allowed; it must not fetch anything."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (OrderedDict, "fromkeys")


def test_getattr_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.save({"meta": Fetch()}, tmp_path / "a.pth")
    assert torch.load(tmp_path / "a.pth", weights_only=False)["meta"] == OrderedDict.fromkeys
    assert isinstance(safe_load.load(tmp_path / "a.pth")["meta"], safe_load.Inert)


def test_the_environment_cannot_switch_the_guard_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "weights.pth"
    torch_zip(path, Evil(tmp_path / "executed"))
    with pytest.raises(safe_load.Refused):
        safe_load.load(path)
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(safe_load.Refused, match=r"torch\.nn\.modules\.linear\.Linear"):
        safe_load.load(tmp_path / "model.pth")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pth")
    with pytest.raises(safe_load.Refused, match="TorchScript"):
        safe_load.load(tmp_path / "script.pth")


def saved(path: Path, *, new: bool = True) -> bytes:
    torch.save({"weight": torch.arange(4096.0)}, path, _use_new_zipfile_serialization=new)
    return path.read_bytes()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_corrupt(tmp_path: Path, new: bool, keep: float) -> None:
    path = tmp_path / "cut.pth"
    data = saved(path, new=new)
    path.write_bytes(data[: int(len(data) * keep)])
    # torch's old format cut within a name looks like a pickle that asks for that half name: refused, not corrupt
    with pytest.raises(InputError if keep == 0.01 else safe_load.Corrupt) as caught:
        safe_load.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "flipped.pth"
    data = bytearray(saved(path))
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(safe_load.Corrupt, match="checksum"):
        safe_load.load(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>404</html>", "no torch file"),
        (b"version https://git-lfs", "Git LFS pointer"),
        (b"PK\x03\x04 not a zip", "cut short"),
        (b"\x80\x02garbage", "damaged|refused|early"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        safe_load.load(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_a_zip_that_torch_did_not_write_is_corrupt(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(safe_load.Corrupt):
        safe_load.load(tmp_path / "x.pth")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    saved(tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"no weight file .*absent\.pth.*other\.pth"):
        safe_load.load(tmp_path / "absent.pth")
    with pytest.raises(InputError, match=r"is a folder.*other\.pth"):
        safe_load.load(tmp_path)


def test_checkpoints_of_mmengine_are_read_and_their_logs_become_inert(tmp_path: Path) -> None:
    logging = pytest.importorskip("mmengine.logging", reason="mmengine is not installed")
    history = logging.HistoryBuffer()
    history.update(1.5)
    hub = {
        "log_scalars": OrderedDict(loss=history),
        "runtime_info": OrderedDict(iter=3),
        "resumed_keys": {"loss": True},
    }
    meta = {"seed": np.int64(3), "lr": np.float32(0.5), "seen": np.arange(3), "dataset_meta": {"classes": ("a",)}}
    torch.save({"state_dict": {"weight": torch.ones(2)}, "message_hub": hub, "meta": meta}, tmp_path / "mm.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "mm.pth", weights_only=True)  # the reason for the allow-list
    content = safe_load.load(tmp_path / "mm.pth")
    assert isinstance(content["message_hub"]["log_scalars"]["loss"], safe_load.Inert)
    assert content["meta"]["seed"] == 3
    assert content["meta"]["seen"].tolist() == [0, 1, 2]
    weights, wrapper = safe_load.weights_of(content)
    assert wrapper == "state_dict"
    assert torch.equal(weights["weight"], torch.ones(2))


def test_the_allow_list_ends_with_the_call(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    saved(tmp_path / "a.pth")
    safe_load.load(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").save_file
    save_file({"weight": torch.ones(3)}, tmp_path / "a.safetensors")
    assert torch.equal(safe_load.load(tmp_path / "a.safetensors")["weight"], torch.ones(3))
    # the store keeps the file of `init:` under another name
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert torch.equal(safe_load.load(tmp_path / "a.pth")["weight"], torch.ones(3))
    (tmp_path / "b.safetensors").write_bytes(b"short")
    with pytest.raises(safe_load.Corrupt):
        safe_load.load(tmp_path / "b.safetensors")


# ------------------------------------------------------------------------------------------------ into a model


def net(width: int = 4, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [("conv", nn.Conv2d(3, width, 3)), ("bn", nn.BatchNorm2d(width)), ("head", nn.Linear(width, classes))]
    return nn.Sequential(OrderedDict(layers))


def other_weights(**kwargs: int) -> dict[str, torch.Tensor]:
    """A state that differs from a fresh net in every tensor."""
    return OrderedDict((key, value + 1) for key, value in net(**kwargs).state_dict().items())


def test_everything_fits(tmp_path: Path) -> None:
    torch.save({"state_dict": other_weights()}, tmp_path / "t.pth")
    model = net()
    audit = safe_load.load_into(model, tmp_path / "t.pth", who="teacher", strict=True)
    assert audit.loaded == audit.wanted == len(model.state_dict())
    assert audit.missing == audit.unexpected == audit.mismatched == audit.dropped == ()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in other_weights().items())
    assert "9 of 9 keys loaded" in audit.summary()
    assert "under 'state_dict'" in audit.summary()
    assert json.loads(json.dumps(audit.to_dict()))["loaded"] == audit.loaded


def test_module_prefix_is_stripped_and_reported() -> None:
    model = net()
    state = {f"module.{key}": value for key, value in other_weights().items()}
    audit = safe_load.load_into(model, state, who="student", strict=True)
    assert audit.loaded == 9
    assert "prefix 'module.' stripped from all 9 keys" in audit.notes
    assert torch.equal(model.state_dict()["head.weight"], other_weights()["head.weight"])


def test_a_model_that_has_module_itself_keeps_it() -> None:
    model = nn.Sequential(OrderedDict(module=nn.Linear(2, 2)))
    state = nn.Sequential(OrderedDict(module=nn.Linear(2, 2))).state_dict()
    audit = safe_load.load_into(model, state, who="student", strict=True)
    assert audit.loaded == 2
    assert not audit.notes


@pytest.mark.parametrize("who", ["teacher", "backbone"])
def test_missing_keys_stop_the_run_with_the_first_ten_and_the_prefix(who: Any) -> None:
    model = net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {f"backbone.{key}": value for key, value in other_weights().items()}
    with pytest.raises(InputError) as caught:
        safe_load.load_into(model, state, who=who, strict=False)
    message = str(caught.value)
    assert "all 9 keys of the file begin with 'backbone.'; try strip='backbone.'" in message
    assert "8 of 9 keys are missing: conv.weight, conv.bias, bn.weight" in message
    assert "\n" not in message
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()), "nothing was loaded"
    audit = safe_load.load_into(model, state, who=who, strict=True, strip="backbone.")
    assert audit.loaded == 9
    assert "prefix 'backbone.' stripped from 9 keys" in audit.notes


def test_more_than_ten_missing_keys_are_counted() -> None:
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(12)])
    state = {key: value for key, value in model.state_dict().items() if int(key.split(".")[0]) < 6}
    with pytest.raises(InputError, match=r"12 of 24 keys are missing: 6\.weight.*10\.bias and 2 more"):
        safe_load.load_into(model, state, who="teacher", strict=True)


def test_prefix_that_the_file_lacks_is_named() -> None:
    model = nn.Sequential(OrderedDict(backbone=net()))
    with pytest.raises(InputError, match=r"fit behind 'backbone\.'"):
        safe_load.load_into(model, other_weights(), who="teacher", strict=True)


def test_another_architecture_is_reported_as_such() -> None:
    says = r"another architecture, only 0 of 9 keys match \(it has '0.weight', the model 'conv"
    with pytest.raises(InputError, match=says):
        safe_load.load_into(net(), nn.Sequential(nn.Linear(2, 2)).state_dict(), who="student", strict=False)


def test_other_shapes_are_listed_with_both() -> None:
    with pytest.raises(InputError, match=r"head\.weight given \(5, 4\), wanted \(3, 4\)") as caught:
        safe_load.load_into(net(), other_weights(classes=5), who="teacher", strict=False)
    assert "head.bias given (5,), wanted (3,)" in str(caught.value)
    assert "number of classes" in str(caught.value)


def test_a_partial_load_is_allowed_and_audited() -> None:
    model = net()
    fresh = model.state_dict()["head.weight"].clone()
    audit = safe_load.load_into(
        model, {**other_weights(classes=5), "extra": torch.ones(1)}, who="student", strict=False
    )
    assert audit.loaded == 7
    assert audit.unexpected == ("extra",)
    assert audit.mismatched == (("head.weight", (5, 4), (3, 4)), ("head.bias", (5,), (3,)))
    assert torch.equal(model.state_dict()["head.weight"], fresh)
    assert torch.equal(model.state_dict()["conv.weight"], other_weights()["conv.weight"])
    assert "2 of another shape" in audit.summary()


@pytest.mark.parametrize("who", ["teacher", "student", "backbone"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_refused(who: Any, value: float) -> None:
    state = other_weights()
    key = next(key for key, weight in state.items() if weight.is_floating_point() and weight.numel() > 1)
    state[key].view(-1)[1] = value
    model = net()
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    with pytest.raises(
        InputError, match=rf"{who} weights .*: 1 of \d+ tensors hold NaN or infinite values: {key} \(1 of"
    ):
        safe_load.load_into(model, state, who=who, strict=True)
    assert all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())


def test_a_variance_below_0_is_refused() -> None:
    state = other_weights()
    key = next(key for key in state if key.endswith("running_var"))
    state[key].view(-1)[0] = -1.0
    with pytest.raises(InputError, match=f"1 variances of batch normalization are below 0, .*: {key}"):
        safe_load.load_into(net(), state, who="student", strict=True)


def test_unexpected_keys_stop_only_a_strict_load() -> None:
    state = {**other_weights(), "fc.weight": torch.ones(1)}
    assert safe_load.load_into(net(), state, who="backbone", strict=False).unexpected == ("fc.weight",)
    with pytest.raises(InputError, match=r"1 keys are unexpected: fc\.weight"):
        safe_load.load_into(net(), state, who="student", strict=True)


def test_counters_of_batchnorm_and_allowed_keys_may_be_missing() -> None:
    state = {key: value for key, value in other_weights().items() if "num_batches" not in key and "head" not in key}
    audit = safe_load.load_into(net(), state, who="backbone", strict=True, allow_missing=("head.*",))
    assert audit.missing == ("bn.num_batches_tracked", "head.weight", "head.bias")
    with pytest.raises(InputError, match=r"2 of 9 keys are missing: head\.weight, head\.bias"):
        safe_load.load_into(net(), state, who="backbone", strict=True)


def test_rename_maps_keys_and_lists_the_dropped_ones() -> None:
    state = {key.replace("conv", "stem"): value for key, value in other_weights().items()} | {"fc.w": torch.ones(1)}
    model = net()
    audit = safe_load.load_into(
        model, state, who="backbone", strict=True,
        rename=lambda key: None if key.startswith("fc.") else key.replace("stem", "conv"),
    )  # fmt: skip
    assert audit.loaded == 9
    assert audit.dropped == ("fc.w",)
    assert "2 keys renamed" in audit.notes
    assert "1 left out (fc.w)" in audit.summary()
    with pytest.raises(InputError, match="two keys become 'x'"):
        safe_load.load_into(model, state, who="backbone", strict=True, rename=lambda key: "x")


def test_keys_that_are_no_text_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1), 7: torch.ones(1)}}, tmp_path / "n.pth")
    with pytest.raises(InputError, match="has the key 7, and keys of weights are text"):
        safe_load.load_into(net(), tmp_path / "n.pth", who="student", strict=True)


def test_a_file_without_weights_lists_what_it_has(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "note": "x"}, tmp_path / "n.pth")
    with pytest.raises(InputError, match="holds no weights: its entries are epoch, note"):
        safe_load.load_into(net(), tmp_path / "n.pth", who="student", strict=True)
    torch.save([1], tmp_path / "l.pth")
    with pytest.raises(InputError, match="holds a list, no state dict"):
        safe_load.load_into(net(), tmp_path / "l.pth", who="student", strict=True)


def test_torchvision_classifier_is_loaded_into_mmdet_backbone() -> None:
    compat = pytest.importorskip("c2d.detectors.compat")
    pytest.importorskip("mmdet", reason="mmdet is not installed")
    import torchvision

    compat.prepare()
    from mmdet.models.backbones import ResNet

    given = torchvision.models.resnet18(weights=None).state_dict()
    backbone = ResNet(18, init_cfg=None)
    audit = safe_load.load_into(backbone, given, who="backbone", strict=False)
    assert audit.unexpected == ("fc.weight", "fc.bias")
    assert not audit.missing
    assert audit.loaded == audit.wanted
    assert torch.equal(backbone.layer4[1].conv2.weight, given["layer4.1.conv2.weight"])
