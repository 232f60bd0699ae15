"""Data, store and runs shared by the tests of a session, small enough for a CPU."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TINY = Path(__file__).parents[1] / "fixtures" / "students" / "tiny-retinanet.py"


@dataclass(frozen=True)
class TinyStore:
    """A data set of 26 scenes and a store. `create_run` writes a spec and returns the folder of the run."""

    data: Path
    runs: Path

    def create_run(self, iterations: int = 6, **changes: Any) -> Any:
        from c2d.core.run_folder import RunFolder, atomic_write_json
        from c2d.specs.resolve_spec import resolve_spec

        given: dict[str, Any] = {
            "dataset": "scenes",
            "student": str(TINY),
            "schedule": {"name": "smoke", "values": {"iterations": iterations, "batch": 4}},
            **copy.deepcopy(changes),
        }
        if "network" in given:
            given.pop("student")
        spec = resolve_spec(given, where="test", runs=self.runs, data=self.data)
        folder = RunFolder(self.runs / spec.id)
        if not folder.spec.exists():
            atomic_write_json(folder.spec, spec.to_json())
        return folder

    def options(self, **options: Any) -> Any:
        from c2d.training.train import RunOptions

        return RunOptions(data=self.data, quiet=True, **options)

    def with_empty_store(self, folder: Path) -> TinyStore:
        """Return a store with the same data and an empty store."""
        return TinyStore(self.data, folder / "runs")


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    from c2d.data.scenes.make_scenes import make_scenes

    root = tmp_path_factory.mktemp("tiny_store")
    make_scenes(root / "data" / "scenes", train=20, val=6, size=96, seed=0)
    return TinyStore(root / "data", root / "runs")


@pytest.fixture(scope="session")
def teacher(tiny_store: TinyStore) -> Any:
    """A classifier teacher of four iterations; its min_top1 is 0, so that students may start under it."""
    from c2d.training.train import train

    schedule = {
        "name": "demo-classifier",
        "values": {"iterations": 4, "batch": 4, "min_top1": 0.0, "warmup": {"iterations": 0}},
    }
    folder = tiny_store.create_run(network="resnet18", schedule=schedule, input=32)
    train(folder, tiny_store.options())
    return folder
