"""RoIAlign as a matrix equals torchvision's, value and gradient, for RoIs of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.impressions.pixels.repeated_roi_align import repeated_roi_align, roi_matrix
from tests.c2d import tiny_detectors  # prepares the compiled operators that mmcv.ops wants

# px of an image of 96 x 80: ordinary, over the border, the whole image, thin, tiny, without extent, outside, inverted
BOXES = [
    [10, 12, 40, 50], [-9, -20, 30, 33], [0, 0, 80, 96], [2, 40, 79, 43], [50, 3, 53, 90], [20.3, 20.1, 20.9, 20.7],
    [30, 30, 30, 30], [200, 200, 260, 240], [60, 60, 90, 120], [40, 40, 30, 30],
]  # fmt: skip


def layer(**settings: Any) -> Any:
    from mmcv.ops import RoIAlign

    return RoIAlign(**{"output_size": (7, 5), "spatial_scale": 0.25, "sampling_ratio": 0, **settings})


def rois() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(30, 2, generator=generator) * 60
    boxes = torch.cat(
        [torch.tensor(BOXES), torch.cat([corner, corner + torch.rand(30, 2, generator=generator) * 60], 1)]
    )
    return torch.cat([torch.arange(len(boxes))[:, None] % 2, boxes], dim=1).float()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("settings", [{}, {"sampling_ratio": 2}, {"aligned": False}, {"spatial_scale": 0.125}], ids=str)
def test_matrix_equals_the_kernel(settings: dict[str, Any], layout: torch.memory_format) -> None:
    ordinary, replaced = layer(**settings), layer(**settings)
    height, width = (24, 20) if "spatial_scale" not in settings else (12, 10)
    maps = torch.randn(2, 6, height, width, generator=torch.Generator().manual_seed(1)).to(memory_format=layout)
    maps.requires_grad_()
    wanted = ordinary(maps, rois())
    with repeated_roi_align(torch.nn.Sequential(replaced)):
        found = replaced(maps, rois())
        again = replaced(maps, rois())
    assert torch.equal(found, again)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-5)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad((out * weight).sum(), maps)[0] for out in (found, wanted)]
    assert torch.allclose(gradients[0], gradients[1], atol=2e-5)


def test_other_rois_and_other_sizes_give_other_matrices() -> None:
    ordinary, replaced = layer(), layer()
    with repeated_roi_align(torch.nn.Sequential(replaced)):
        for size, count in ((24, 10), (24, 40), (20, 40), (20, 10), (20, 0)):
            maps = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
            given = rois()[:count]
            assert torch.allclose(replaced(maps, given), ordinary(maps, given), atol=1e-5)
    assert "forward" not in vars(replaced)


def test_one_bin_by_hand() -> None:
    """A RoI of 2 x 2 cells at (1, 1), one bin with one sample in its centre, on the cell (1, 1) itself."""
    matrix = roi_matrix(torch.tensor([[0.0, 1.0, 1.0, 2.0, 2.0]]), (1, 3, 4), (1, 1), 1.0, 0, aligned=True)
    assert matrix.forward.to_dense().tolist() == [[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]]
    # Without the shift by half a cell the sample is at (1.5, 1.5), between four cells.
    matrix = roi_matrix(torch.tensor([[0.0, 1.0, 1.0, 2.0, 2.0]]), (1, 3, 4), (1, 1), 1.0, 0, aligned=False)
    assert matrix.forward.to_dense().reshape(3, 4).tolist() == [[0, 0, 0, 0], [0, 0.25, 0.25, 0], [0, 0.25, 0.25, 0]]
    assert torch.equal(matrix.transposed.to_dense(), matrix.forward.to_dense().T)


def test_detectors_without_the_layer_are_left_alone() -> None:
    network = tiny_detectors.build("retinanet")
    with repeated_roi_align(network):
        assert not any("forward" in vars(module) for module in network.modules())
