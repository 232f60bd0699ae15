"""A data set whose random numbers follow from a position, so that no item depends on which process reads it."""

from __future__ import annotations

from typing import Any, Literal

from torch.utils.data import Dataset

from c2d.core.errors import RunError
from c2d.detectors.training_pipeline import image_error
from c2d.ops.seeding import derive_seed, temporary_seed


class SeededDataset(Dataset[Any]):
    """A map-style data set whose item at (position, index) draws its augmentation from (seed, position).

    Args:
        dataset: mmdet data set.
        seed: of the run; 0 for an evaluation, which is the same in every run.
        use: of the images, for the message about a broken one.
        closing_position: first position of the closing phase, where the data set has a pipeline for it; or None.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int,
        use: Literal["training", "evaluation"] = "training",
        closing_position: int | None = None,
    ) -> None:
        self.dataset, self.seed, self.use, self.closing_position = dataset, seed, use, closing_position
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        if self.closing_position is not None:
            self.dataset.pipeline.in_closing_phase = position >= self.closing_position
        # 1 is the purpose of this seed, see `Distillation.generator`. The states are restored: with workers 0 the
        # loader runs in the process of the model.
        with temporary_seed(derive_seed(self.seed, position, 1)):
            try:
                return self.dataset[index]
            except RunError:  # of an image that is mixed into this one
                raise
            except Exception as error:  # a pipeline may raise anything at a broken image
                raise image_error(self.use, self.dataset, index, error) from error
