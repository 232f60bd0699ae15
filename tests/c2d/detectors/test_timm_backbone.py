"""timm's networks as backbones: the one dotted function that a config may name, and what it may not ask for."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope

timm = pytest.importorskip("timm")
STOCK = {
    "type": "timm.create_model",
    "model_name": "tf_efficientnet_lite0",
    "features_only": True,
    "out_indices": (2, 3),
    "pretrained": False,
}


def build(**changes: Any) -> Any:
    with mmdet_scope():
        from mmdet.registry import MODELS

        given = {**STOCK, **changes}
        return MODELS.build({key: value for key, value in given.items() if value is not ...})


def test_the_network_is_that_of_timm() -> None:
    torch.manual_seed(3)
    ours = build()
    torch.manual_seed(3)
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(2, 3))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, wanted = ours.eval()(image), theirs.eval()(image)
    assert [tuple(item.shape) for item in maps] == [(1, 40, 8, 8), (1, 112, 4, 4)]
    assert all(torch.equal(one, other) for one, other in zip(maps, wanted, strict=True))
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained": True}, "pretrained is true; weights come from `init`"),
        ({"features_only": ...}, "write features_only=True"),
        ({"features_only": False}, "write features_only=True"),
        ({"checkpoint_path": "/etc/passwd"}, "unknown argument of timm.create_model: 'checkpoint_path'"),
        ({"pretrained_cfg_overlay": {"file": "x.pth"}}, "unknown argument of timm.create_model: 'pretrained_cfg_over"),
        ({"cache_dir": "/tmp/x"}, "unknown argument of timm.create_model: 'cache_dir'"),
        ({"norm_layer": {"type": "BN"}}, "unknown argument of timm.create_model: 'norm_layer'"),
        ({"drop_rate": {"type": "BN"}}, "drop_rate is a dict"),
        ({"model_name": "hf-hub:someone/network"}, "unknown timm network 'hf-hub:someone/network'"),
        ({"model_name": "local-dir:/tmp/x"}, "unknown timm network 'local-dir:/tmp/x'"),
        ({"model_name": "tf_efficientnet_lite"}, "unknown timm network .* did you mean 'tf_efficientnet_lite0'"),
        ({"model_name": ...}, "unknown timm network 'None'"),
        ({"out_indices": (9,)}, "cannot be built with these arguments"),
    ],
)
def test_what_a_config_may_not_ask_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    "name", ["timm.create_model.x", "timm.models.create_model", "timm.models.load_checkpoint", "timm"]
)
def test_no_other_function_of_timm_is_found(name: str) -> None:
    with pytest.raises(KeyError, match="is not in the mmdet::model registry"):
        build(type=name)


def test_a_missing_timm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="needs timm, which is not installed; pip install timm"):
        build()
