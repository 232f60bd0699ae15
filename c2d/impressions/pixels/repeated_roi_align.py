"""RoIAlign for RoIs that stay the same over many steps, as a sparse matrix, on CPUs.

RoIAlign is linear in the feature maps: with fixed RoIs it is a matrix. torchvision's kernel computes the weights of all
sampling points again in every forward and every backward pass, and its backward pass is slow on a CPU. The matrix gives
the same numbers, up to the order of the sums. CUDA keeps its own kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from c2d.detectors.hooks import replace_method


@contextmanager
def repeated_roi_align(network: nn.Module) -> Iterator[None]:
    """Replace mmcv's RoIAlign layers of a detector inside the block; each keeps the matrix of its last RoIs.

    Args:
        network: any mmdet detector; one without such layers is left as it is.
    """
    from mmcv.ops import RoIAlign

    with ExitStack() as stack:
        for layer in network.modules():
            if type(layer) is RoIAlign and layer.pool_mode == "avg":
                stack.enter_context(replace_method(layer, "forward", _RepeatedLayer(layer)))
        yield


class RoIMatrix(NamedTuple):
    """RoIAlign of some RoIs as a matrix.

    Attributes:
        forward: sparse (K * rows * columns, B * H * W); RoIs are in another order than theirs.
        transposed: the same, transposed.
        position: (K,) long, where each RoI is in that order.
    """

    forward: Tensor
    transposed: Tensor
    position: Tensor


def roi_matrix(
    rois: Tensor, shape: tuple[int, int, int], bins: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> RoIMatrix:
    """Return the matrix of RoIAlign (Mask R-CNN, ICCV 2017): the mean of bilinear samples in each bin.

    Args:
        rois: (K, 5) index of the image, xyxy in px of the image.
        shape: (images, height, width) of the maps.
        bins: (rows, columns) of the output.
        scale: cells per px.
        sampling_ratio: samples of a bin in each direction; 0: as many as a bin has cells, rounded up.
        aligned: shift the RoIs by half a cell. Without it RoIs are at least one cell large.
    """
    images, height, width = shape
    axes = [
        _axis_weights(rois[:, 1 + axis], rois[:, 3 + axis], length, count, scale, sampling_ratio, aligned)
        for axis, length, count in ((1, height, bins[0]), (0, width, bins[1]))
    ]
    # RoIs with equal numbers of samples are computed together.
    counts = torch.stack([grid for grid, _, _ in axes], dim=1)
    kinds, kind = counts.unique(dim=0, return_inverse=True)
    columns, values, lengths, order = [], [], [], []
    for number, (rows, cols) in enumerate(kinds.tolist()):
        chosen = (kind == number).nonzero().squeeze(1)
        y, wy = (part[chosen, :, : 2 * rows] for part in axes[0][1:])
        x, wx = (part[chosen, :, : 2 * cols] for part in axes[1][1:])
        image = rois[chosen, 0].long()[:, None, None, None, None]
        # (RoI, row, column, neighbours in y, neighbours in x)
        cell = (image * height + y[:, :, None, :, None]) * width + x[:, None, :, None, :]
        columns.append(cell.flatten())
        values.append((wy[:, :, None, :, None] * wx[:, None, :, None, :]).flatten())
        lengths.append(torch.full((len(chosen) * bins[0] * bins[1],), 4 * rows * cols))
        order.append(chosen)
    column, value = torch.cat(columns), torch.cat(values)
    length = torch.cat(lengths)
    size = (len(length), images * height * width)
    row = torch.arange(size[0]).repeat_interleave(length)
    forward = _csr_matrix(length, column, value, size)
    by_cell = column.argsort()
    cells = torch.bincount(column, minlength=size[1])
    transposed = _csr_matrix(cells, row[by_cell], value[by_cell], (size[1], size[0]))
    return RoIMatrix(forward, transposed, torch.cat(order).argsort())


def _axis_weights(
    low: Tensor, high: Tensor, length: int, bins: int, scale: float, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the samples of one axis.

    Returns:
        Number of samples (K,) long; cells (K, bins, 2 * largest number) long; their weights, of the same shape and 0
        beyond a RoI's own number.
    """
    offset = 0.5 if aligned else 0.0
    start = low * scale - offset
    extent = high * scale - offset - start
    if not aligned:
        extent = extent.clamp(min=1)
    bin_size = extent / bins
    counts = torch.full_like(extent, sampling_ratio) if sampling_ratio > 0 else bin_size.ceil()
    counts = counts.long().clamp(min=1)
    sample = torch.arange(int(counts.max()))
    place = (sample + 0.5)[None, None, :] * (bin_size / counts)[:, None, None]
    place = start[:, None, None] + torch.arange(bins)[None, :, None] * bin_size[:, None, None] + place
    used = (sample[None, None, :] < counts[:, None, None]) & (place >= -1) & (place <= length)
    if not sampling_ratio > 0:
        used = used & (bin_size > 0)[:, None, None]  # a RoI without extent has no samples
    place = place.clamp(min=0)
    below = place.long().clamp(max=length - 1)
    share = torch.where(below == length - 1, 0.0, place - below)
    cells = torch.stack([below, (below + 1).clamp(max=length - 1)], dim=3)
    weights = torch.stack([1 - share, share], dim=3) * (used / counts[:, None, None])[..., None]
    return counts, cells.flatten(2), weights.flatten(2)


def _csr_matrix(lengths: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a sparse matrix from the number of entries of each row; entries of one place are added up."""
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse")  # "is in beta", "invariant checks are implicitly disabled"
        # Indices of 32 bits: half the memory traffic.
        return torch.sparse_csr_tensor(starts.int(), columns.int(), values, size)


class _RepeatedLayer:
    """Forward pass of one RoIAlign layer; its matrix is computed again when the RoIs change."""

    def __init__(self, layer: Any) -> None:
        self._layer, self._forward = layer, layer.forward
        self._rois: Tensor | None = None
        self._shape: tuple[int, ...] = ()
        self._matrix: RoIMatrix | None = None

    def __call__(self, maps: Tensor, rois: Tensor) -> Tensor:
        if maps.device.type != "cpu" or maps.dtype != torch.float32 or not len(rois):
            return self._forward(maps, rois)
        layer = self._layer
        batch, channels, height, width = maps.shape
        if self._matrix is None or self._shape != maps.shape or not torch.equal(self._rois, rois):  # type: ignore[arg-type]
            shape, settings = (batch, height, width), (layer.spatial_scale, layer.sampling_ratio, layer.aligned)
            self._matrix = roi_matrix(rois.detach(), shape, layer.output_size, *settings)
            self._rois, self._shape = rois.detach().clone(), maps.shape
        flat = maps.permute(0, 2, 3, 1).reshape(-1, channels)
        bins: Tensor = _Product.apply(flat, self._matrix.forward, self._matrix.transposed)
        # Kept in the memory order of channels_last, as the maps are.
        found = bins.view(len(rois), *layer.output_size, channels)[self._matrix.position]
        return found.permute(0, 3, 1, 2)


class _Product(torch.autograd.Function):
    """Product of a constant sparse matrix and a dense one."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ grad, None, None
