"""A question built as its training would build it, with its first batches and no run folder: to look beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dataset import pseudo_collate

from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card import find_card, verify
from c2d.specs.resolve_spec import ask, read_yaml
from c2d.specs.spec import RunSpec, parse_spec
from c2d.training import config
from c2d.training.build import Built, build
from c2d.training.distributed import join
from c2d.training.sampler import SeededDataset, Stream


@dataclass
class Trial:
    """A model in training mode with its teachers, and the batches that it would see."""

    spec: RunSpec
    built: Built
    resolved: config.Resolved
    device: str

    def batches(self, count: int, size: int | None = None) -> Iterator[tuple[Any, Any]]:
        """(inputs, data samples) of iterations 0 .. count-1, out of the model's own preprocessor.

        Args:
            size: images a batch; by default the schedule's.
        """
        batch = size or self.spec.schedule.values.batch
        data = SeededDataset(self.built.dataset, self.spec.seed)
        keys = iter(Stream(len(data), self.spec.seed, batch, 0, 1, 0, count))
        for _ in range(count):
            given = pseudo_collate([data[next(keys)] for _ in range(batch)])
            ready = self.built.model.data_preprocessor(given, True)
            yield ready["inputs"], ready["data_samples"]


def prepare(question: str, runs: Path, data: Path | None) -> Trial:
    """A trial of SPEC.yaml, or of a run of the store by its folder's name.

    Raises:
        InputError: what training itself would refuse: an unfinished teacher, data that are not here, ...
    """
    if question.endswith((".yaml", ".yml")):
        spec = ask(read_yaml(Path(question)), where=question, runs=runs, data=data)
    else:
        from c2d.specs.resolve_spec import find_run

        folder = find_run(question, runs)
        spec = parse_spec(read_json(folder.spec), str(folder.spec))
    device = join()
    card = find_card(spec.dataset.name, spec.dataset.digest, data)
    verify(card)
    folder = RunFolder(runs / spec.id)
    resolved = config.resolve(spec, card, folder)
    built = build(spec, resolved, card, folder, device, download=False)
    built.model.train()
    return Trial(spec, built, resolved, device)
