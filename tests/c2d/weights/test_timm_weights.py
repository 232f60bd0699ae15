"""timm's own weights by name, from a stand-in for Hugging Face's cache: no hub is asked, and none was tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.weights import pretrained, timm_weights

timm = pytest.importorskip("timm")
hub = pytest.importorskip("huggingface_hub")
HALF = Normalization((127.5,) * 3, (127.5,) * 3, "rgb")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """{"files": {(repository, file): path}, "asked": [...]}: what `hf_hub_download` finds, and its calls."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    state: dict[str, Any] = {"files": {}, "asked": []}

    def hf_hub_download(repository: str, file: str, *, revision: Any, local_files_only: bool) -> str:
        state["asked"].append((repository, file, local_files_only))
        if (repository, file) not in state["files"]:
            raise LocalEntryNotFoundError("not in the cache")
        return str(state["files"][repository, file])

    monkeypatch.setattr(hub, "hf_hub_download", hf_hub_download)
    monkeypatch.delenv("C2D_DOWNLOAD", raising=False)
    return state


def stored(name: str, path: Path, **options: Any) -> Any:
    """Save random weights of a network as its publisher would; return the network."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    network = timm.create_model(name, **options)
    save_file(network.state_dict(), path)
    return network


def test_a_classifier_is_filled_but_its_head(cache: dict[str, Any], tmp_path: Path) -> None:
    published = stored("resnet10t", tmp_path / "model.safetensors")
    cache["files"]["timm/resnet10t.c3_in1k", "model.safetensors"] = tmp_path / "model.safetensors"
    network = timm.create_model("resnet10t", num_classes=3)
    pixels = timm_weights.pixels("timm:resnet10t.c3_in1k")
    audit = pretrained.initialise_network(network, "timm:resnet10t.c3_in1k", pixels=pixels, classifier=True)
    own, given = network.state_dict(), published.state_dict()
    assert audit.missing == ("fc.weight", "fc.bias")
    assert all(torch.equal(own[key], given[key]) for key in own if not key.startswith("fc."))
    assert (audit.source, len(audit.sha256)) == ("timm:resnet10t.c3_in1k", 64)
    assert cache["asked"] == [("timm/resnet10t.c3_in1k", "model.safetensors", True)]


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t", "tf_efficientnet_lite0"])
def test_a_backbone_gives_the_maps_of_the_whole_network(name: str, cache: dict[str, Any], tmp_path: Path) -> None:
    """timm renames the parts of a ConvNeXt (`stages.0` -> `stages_0`) where it lists its features."""
    published = stored(name, tmp_path / "model.safetensors").eval()
    cache["files"][timm_weights._listed(f"timm:{name}").hf_hub_id, "model.safetensors"] = tmp_path / "model.safetensors"
    backbone = timm.create_model(name, features_only=True)
    audit = pretrained.initialise_network(backbone, f"timm:{name}", pixels=None, classifier=False)
    assert (audit.missing, audit.unexpected, audit.mismatched) == ((), (), ())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        last = backbone.eval()(image)[-1]
        wanted = published.forward_intermediates(image, intermediates_only=True, norm=False)[-1]
    torch.testing.assert_close(last, wanted)


def test_nothing_is_downloaded_without_the_option(cache: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"has no model.safetensors of timm/resnet10t.c3_in1k; call again with --download"
    ):
        timm_weights.find_file("timm:resnet10t")
    assert [local for *_, local in cache["asked"]] == [True, True]
    with pytest.raises(InputError, match=r"cannot download timm:resnet10t: timm/resnet10t.c3_in1k has none of"):
        timm_weights.find_file("timm:resnet10t", download=True)
    assert [local for *_, local in cache["asked"]][2:] == [False, False]
    assert not timm_weights.is_cached("timm:resnet10t")


def test_pixels_are_those_of_timms_list() -> None:
    pretrained.check_pixels("timm:vit_small_patch14_dinov2.lvd142m", IMAGENET)
    pretrained.check_pixels("timm:tf_efficientnet_lite0.in1k", HALF)
    with pytest.raises(InputError, match=r"mean \(127.5 127.5 127.5\) and std \(127.5 127.5 127.5\), but this network"):
        pretrained.check_pixels("timm:tf_efficientnet_lite0.in1k", IMAGENET)


def test_a_network_of_equal_shapes_is_refused(cache: dict[str, Any]) -> None:
    other = timm.create_model("efficientnet_lite0")
    with pytest.raises(
        InputError, match="belong to timm:tf_efficientnet_lite0, and this network is timm:efficientnet_l"
    ):
        pretrained.initialise_network(other, "timm:tf_efficientnet_lite0", pixels=None, classifier=True)
    assert cache["asked"] == []


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("timm:resnet10t.c9", r"unknown weights of timm 'resnet10t.c9'; did you mean 'resnet10t.c3_in1k'"),
        ("timm:resnet10", r"unknown weights of timm 'resnet10'; did you mean 'resnet1"),
    ],
)
def test_unknown_names_are_reported(init: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        timm_weights.find_file(init)
