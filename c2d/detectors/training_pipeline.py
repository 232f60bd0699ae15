"""A training pipeline whose steps may read further images of the data set, and may change for the closing phase.

mmdet draws further images in MultiImageMixDataset, or keeps earlier ones in a cache. Here the step itself draws and
reads them when it runs, so an item follows from its index and the random state alone: the same bytes for any number of
processes and after a resume. The transforms are mmdet's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from c2d.core.errors import InputError, RunError, first_line
from c2d.detectors.mmdet_scope import mmdet_scope

Step = Callable[[dict[str, Any]], Any]
ImageInfo = Callable[[int], dict[str, Any]]
"""Index of an image -> what the first step of a pipeline takes."""


class TrainingPipeline:
    """The steps of a training, and those of its closing phase.

    Attributes:
        in_closing_phase: which of the two is used; set before each item.
    """

    def __init__(self, steps: Step, closing_steps: Step | None) -> None:
        self._steps, self._closing_steps = steps, closing_steps
        self.in_closing_phase = False

    def __call__(self, info: dict[str, Any]) -> Any:
        """Return an image after the steps, or None where a step refuses it; mmdet's data set then draws another."""
        closing = self._closing_steps if self.in_closing_phase else None
        return (closing or self._steps)(info)


def build_steps(steps: Sequence[Any], dataset: Any, info: ImageInfo) -> Step:
    """Build a pipeline.

    Args:
        steps: configs; those with `partner_steps` mix images (`c2d.configs.image_mixing`).
        dataset: mmdet data set whose images are mixed.
        info: of an image of `dataset`.

    Raises:
        InputError: a step cannot be built.
    """
    built: list[Step] = []
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS
        from mmengine.dataset import Compose

        def with_mixing(node: Any) -> Any:
            """Replace the configs of steps that mix images by the steps, inside other steps too."""
            if isinstance(node, (list, tuple)):
                return type(node)(with_mixing(item) for item in node)
            if not isinstance(node, Mapping):
                return node
            options = {key: with_mixing(value) for key, value in node.items()}
            if "partner_steps" not in options:
                return options
            first = Compose(built[: options.pop("partner_steps")])
            share = options.pop("prob", 1.0)
            return MixingStep(TRANSFORMS.build(options), share, lambda: Partners(dataset, info, first))

        for step in steps:
            try:
                one = with_mixing(step)
                built.append(one if isinstance(one, MixingStep) else TRANSFORMS.build(one))
            except (InputError, MemoryError):
                raise
            except Exception as error:  # a config's values reach any code of mmdet, which may raise anything
                raise InputError(
                    f"mmdet cannot build step {len(built)} of the pipeline: {first_line(error)}; check the overrides"
                ) from error
        return Compose(built)


class MixingStep:
    """A transform of mmdet that puts further images into one, with the drawing of those images.

    Args:
        transform: with `get_indexes`, as mmdet's MultiImageMixDataset uses it.
        prob: share of the images that it is applied to.
        partners: gives the images that it may take.
    """

    def __init__(self, transform: Any, prob: float, partners: Callable[[], Partners]) -> None:
        self.transform, self.prob, self.partners = transform, prob, partners

    def __call__(self, results: dict[str, Any]) -> Any:
        """Draw further images, and mix them into `results`."""
        # Before the drawing: images that are not used need not be read.
        if self.prob < 1 and np.random.uniform(0, 1) > self.prob:
            return results
        partners = self.partners()
        indexes = self.transform.get_indexes(partners)
        results["mix_results"] = [
            copy.deepcopy(partners[index]) for index in (indexes if isinstance(indexes, Sequence) else [indexes])
        ]
        mixed = self.transform(results)
        if mixed is not None:
            mixed.pop("mix_results", None)
        return mixed


class Partners:
    """The images of a data set after the first steps of its pipeline, for one mixing step of one item.

    An image is read once: MixUp draws until one has boxes, and then takes the one that it has seen.

    Args:
        dataset: mmdet data set.
        info: of its images.
        steps: the first steps.
    """

    def __init__(self, dataset: Any, info: ImageInfo, steps: Step) -> None:
        self._dataset, self._info, self._steps = dataset, info, steps
        self._read: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        """Return an image after the steps.

        Raises:
            RunError: it cannot be read, or the steps refuse image after image.
        """
        index = int(index)
        if index not in self._read:
            self._read[index] = self._first_accepted(index)
        return self._read[index]

    def _first_accepted(self, index: int) -> Any:
        # As mmdet's data sets do: a step may refuse an image, and then another one is drawn.
        for _ in range(self._dataset.max_refetch + 1):
            try:
                found = self._steps(self._info(index))
            except RunError:  # of an image that is mixed into this one
                raise
            except Exception as error:  # a pipeline may raise anything at a broken image
                raise image_error("training", self._dataset, index, error) from error
            if found is not None:
                return found
            index = self._dataset._rand_another()
        raise RunError(
            f"the pipeline refused {self._dataset.max_refetch + 1} images that it was to mix; check its steps", "data"
        )


def image_error(use: str, dataset: Any, index: int, error: Exception) -> RunError:
    """Return the error for an image that a pipeline failed on.

    Args:
        use: `training` or `evaluation`.
        dataset: mmdet data set.
        index: of the image.
        error: what the pipeline raised.
    """
    path = dataset.get_data_info(index).get("img_path", f"number {index}")
    return RunError(f"{use} image {path}: {first_line(error)}; run `c2d data check` on the data set", "data")
