"""First weights: torchvision's keys into mmdet's backbones, pixels that must fit, and no surprise download."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from c2d.core.download import http_download
from c2d.core.download.remote_file import RemoteFile
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.detectors import compat
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.weights import pretrained, torchvision_weights

compat.prepare()


class Detector(nn.Module):
    """A backbone with its data preprocessor, which defines the normalisation."""

    def __init__(self, backbone: nn.Module, normalization: Normalization = IMAGENET) -> None:
        super().__init__()
        from mmdet.models import DetDataPreprocessor

        self.data_preprocessor = DetDataPreprocessor(
            mean=list(normalization.mean), std=list(normalization.std), bgr_to_rgb=normalization.order == "rgb"
        )
        self.backbone = backbone


def mean_only() -> Normalization:
    return Normalization(IMAGENET.mean, (1.0, 1.0, 1.0), "rgb")


def random_network(name: str) -> nn.Module:
    """A torchvision network in eval mode whose batch norms do something."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def saved(network: nn.Module, path: Path, **wrapping: Any) -> str:
    torch.save({"state_dict": network.state_dict(), **wrapping} if wrapping else network.state_dict(), path)
    return str(path)


def stage_maps(network: nn.Module, image: torch.Tensor, cuts: list[str]) -> list[torch.Tensor]:
    from c2d.detectors.hooks import extract_outputs

    with torch.no_grad():
        return list(extract_outputs(network, cuts, image).values())


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_gives_torchvisions_features(depth: int, tmp_path: Path) -> None:
    from mmdet.models.backbones import ResNet

    network, backbone = random_network(f"resnet{depth}"), ResNet(depth)
    audit = pretrained.initialise(Detector(backbone), saved(network, tmp_path / "r.pth"))
    assert set(audit.dropped) == {"fc.weight", "fc.bias"}
    assert not audit.missing
    backbone.eval()  # returns None in mmdet
    image = torch.randn(2, 3, 64, 64)
    wanted = stage_maps(network, image, ["layer1", "layer2", "layer3", "layer4"])
    with torch.no_grad():
        for mine, theirs in zip(backbone(image), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_mobilenet_gives_torchvisions_features(tmp_path: Path) -> None:
    from mmdet.models.backbones import MobileNetV2

    network, backbone = random_network("mobilenet_v2"), MobileNetV2(out_indices=(0, 1, 2, 3, 4, 5, 6, 7))
    audit = pretrained.initialise(Detector(backbone), saved(network, tmp_path / "m.pth", epoch=3))
    assert audit.loaded == len(backbone.state_dict())
    assert {key.split(".")[0] for key in audit.dropped} == {"classifier"}
    backbone.eval()  # returns None in mmdet
    image = torch.randn(2, 3, 64, 64)
    wanted = stage_maps(network, image, [f"features.{n}" for n in (1, 3, 6, 10, 13, 16, 17, 18)])
    with torch.no_grad():
        for mine, theirs in zip(backbone(image), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_vgg_gives_torchvisions_features_and_keeps_its_own_fc(tmp_path: Path) -> None:
    from mmdet.models.backbones import SSDVGG

    network, backbone = random_network("vgg16"), SSDVGG(depth=16, out_feature_indices=(15, 22, 34))
    before = backbone.state_dict()["features.31.weight"].clone()
    audit = pretrained.initialise(Detector(backbone, mean_only()), saved(network, tmp_path / "v.pth"))
    assert set(audit.missing) == {f"features.{n}.{part}" for n in (31, 33) for part in ("weight", "bias")}
    assert torch.equal(backbone.state_dict()["features.31.weight"], before)
    backbone.eval()
    image = torch.randn(1, 3, 64, 64)  # even at each pooling, where ceil and floor agree
    wanted = stage_maps(network, image, ["features.15", "features.22"])
    with torch.no_grad():
        maps = backbone(image)
    for mine, theirs in zip(maps[:2], wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_whole_detectors_file_gives_its_backbone(tmp_path: Path) -> None:
    from mmdet.models.backbones import ResNet

    source, target = ResNet(18), ResNet(18)
    source.init_weights()
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()} | {"neck.weight": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "detector.pth")
    audit = pretrained.initialise(Detector(target), str(tmp_path / "detector.pth"))
    assert audit.dropped == ("neck.weight",)
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    from mmdet.models.backbones import ResNet

    path = saved(random_network("resnet18"), tmp_path / "r18.pth")
    with pytest.raises(InputError, match="keys have another shape"):
        pretrained.initialise(Detector(ResNet(18, base_channels=16)), path)
    with pytest.raises(InputError, match=r"keys are missing|another architecture"):
        pretrained.initialise(Detector(ResNet(50)), path)


def test_a_stored_file_is_found_by_its_content(tmp_path: Path) -> None:
    from mmdet.models.backbones import ResNet

    network, folder = random_network("resnet18"), RunFolder(tmp_path / "runs" / "some-run")
    path = Path(saved(network, tmp_path / "r.pth"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match="no weight file"):
        pretrained.initialise(Detector(ResNet(18)), f"sha256:{digest}", folder)
    RunStore(folder.path.parent).weights(digest).parent.mkdir(parents=True)
    path.rename(RunStore(folder.path.parent).weights(digest))
    backbone = ResNet(18)
    pretrained.initialise(Detector(backbone), f"sha256:{digest}", folder)
    assert torch.equal(backbone.state_dict()["conv1.weight"], network.state_dict()["conv1.weight"])
    kept = RunStore(folder.path.parent).weights(digest)
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"is not the file that was given as init: its sha256 differs from its name"):
        pretrained.initialise(Detector(ResNet(18)), f"sha256:{digest}", folder)


def test_normalisation_comes_from_torchvision() -> None:
    assert pretrained.pretrained_pixels("torchvision:resnet50.IMAGENET1K_V1") == IMAGENET
    vgg = pretrained.pretrained_pixels("torchvision:vgg16.IMAGENET1K_FEATURES")
    assert vgg is not None
    assert vgg.std == (1.0, 1.0, 1.0)
    assert [round(value) for value in vgg.mean] == [123, 117, 104]
    assert pretrained.pretrained_pixels("some/file.pth") is None


@pytest.mark.parametrize(
    ("init", "pixels"),
    [
        ("torchvision:resnet50.IMAGENET1K_V1", IMAGENET),
        ("torchvision:vgg16.IMAGENET1K_FEATURES", mean_only()),
        ("anything.pth", Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), "bgr")),
    ],
)
def test_fitting_pixels_pass(init: str, pixels: Normalization) -> None:
    pretrained.check_pixels(init, pixels)


@pytest.mark.parametrize(
    ("init", "pixels"),
    [
        ("torchvision:resnet50.IMAGENET1K_V1", mean_only()),
        ("torchvision:vgg16.IMAGENET1K_FEATURES", IMAGENET),
        ("torchvision:resnet50.IMAGENET1K_V1", IMAGENET.reversed_channels()),
        ("torchvision:resnet50.IMAGENET1K_V1", Normalization((0.0, 0.0, 0.0), IMAGENET.std, "rgb")),
    ],
)
def test_a_different_normalisation_is_refused_and_names_both(init: str, pixels: Normalization) -> None:
    with pytest.raises(InputError) as info:
        pretrained.check_pixels(init, pixels)
    assert init in str(info.value)
    assert str(info.value).count("pixels of 0-255") == 2


def test_the_shipped_students_fit_the_weights_they_are_meant_for() -> None:
    from c2d.configs.student_config import load_student
    from c2d.evaluation.stock_model import build_student

    for name, init in {
        "ssd300-vgg16": "torchvision:vgg16.IMAGENET1K_FEATURES",
        "fcos-r50": "torchvision:resnet50.IMAGENET1K_V1",
        "ssdlite-mbv2": "torchvision:mobilenet_v2.IMAGENET1K_V1",
    }.items():
        student = build_student(load_student(name))
        pretrained.check_pixels(init, Normalization.from_preprocessor(student.data_preprocessor))


def test_nothing_is_downloaded_without_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(remote: RemoteFile, folder: Path, print_line: Any, move: str) -> None:
        asked.append(remote.url)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), folder / remote.name)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("C2D_DOWNLOAD", raising=False)
    monkeypatch.setattr(http_download, "download", fetch)
    init = "torchvision:resnet18.IMAGENET1K_V1"
    with pytest.raises(InputError) as info:
        pretrained.read_weights(init)
    assert not asked
    for part in (init, str(tmp_path / "hub" / "checkpoints"), "--download", "C2D_DOWNLOAD=1"):
        assert part in str(info.value)
    # The fetched file is not that of torchvision: its sha256 differs.
    with pytest.raises(InputError, match="is broken: its sha256"):
        pretrained.read_weights(init, download=True)
    assert len(asked) == 1
    monkeypatch.setattr(torchvision_weights, "_hash_prefix", lambda path: None)
    assert torchvision_weights.find_file(init).parent == tmp_path / "hub" / "checkpoints"
    monkeypatch.setenv("C2D_DOWNLOAD", "1")
    assert torchvision_weights.find_file("torchvision:resnet34.IMAGENET1K_V1").exists()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("torchvision:resnet5.IMAGENET1K_V1", "unknown torchvision model 'resnet5'; did you mean 'resnet50'"),
        ("torchvision:resnet50.IMAGENET", r"unknown weights of resnet50 'IMAGENET'; did you mean 'IMAGENET1K_V"),
        ("nowhere.pth", "no weight file nowhere.pth"),
    ],
)
def test_unknown_weights_are_reported(init: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pretrained.read_weights(init)


def test_a_malicious_file_is_refused(tmp_path: Path) -> None:
    import pickle

    from mmdet.models.backbones import ResNet

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "done",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(InputError):
        pretrained.initialise(Detector(ResNet(18)), str(tmp_path / "evil.pth"))
    assert not (tmp_path / "done").exists()
