"""A data set whose random numbers follow from a position, so that no item depends on which process reads it."""

from __future__ import annotations

from typing import Any, Literal

from torch.utils.data import Dataset

from c2d.core.errors import RunError, first_line
from c2d.ops.seeding import derive_seed, temporary_seed


class SeededDataset(Dataset[Any]):
    """A map-style data set whose item at (position, index) draws its augmentation from (seed, position).

    Args:
        dataset: mmdet data set.
        seed: of the run; 0 for an evaluation, which is the same in every run.
        use: of the images, for the message about a broken one.
    """

    def __init__(self, dataset: Any, seed: int, use: Literal["training", "evaluation"] = "training") -> None:
        self.dataset, self.seed, self.use = dataset, seed, use
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        # 1 is the purpose of this seed, see `Distillation.generator`. The states are restored: with workers 0 the
        # loader runs in the process of the model.
        with temporary_seed(derive_seed(self.seed, position, 1)):
            try:
                return self.dataset[index]
            except Exception as error:  # a pipeline may raise anything at a broken image
                path = self.dataset.get_data_info(index).get("img_path", f"number {index}")
                raise RunError(
                    f"{self.use} image {path}: {first_line(error)}; run `c2d data check` on the data set", "data"
                ) from error
