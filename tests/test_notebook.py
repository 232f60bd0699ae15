"""The notebook of the docs runs on the example store, in a kernel where torch and mmdet are not installed.

    C2D_WRITE_NOTEBOOK=1 python -m pytest tests/test_notebook.py

writes the notebook again with the outputs of this run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_arrows import HEAVY

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorials" / "analysis.ipynb"
MOST_BYTES = 450_000


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after a run without C2D_RUNS, as a reader of the docs starts it."""
    folder = tmp_path_factory.mktemp("notebook")
    stubs = folder / "not-installed"
    stubs.mkdir()
    for name in HEAVY:
        (stubs / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}')\n")
    path = [str(stubs), str(ROOT)]
    environment = {
        **{key: value for key, value in os.environ.items() if key != "C2D_RUNS"},
        "PYTHONPATH": os.pathsep.join(path),
        "C2D_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
        "OMP_NUM_THREADS": "1",
    }
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return notebook


def test_the_notebook_runs_without_torch(executed: Any) -> None:
    failed = [out for cell in executed.cells for out in cell.get("outputs", ()) if out.output_type == "error"]
    warned = [out.text for cell in executed.cells for out in cell.get("outputs", ()) if out.get("name") == "stderr"]
    assert not failed
    assert not warned


def test_a_notebook_shows_tables_figures_and_the_comparison(executed: Any) -> None:
    shown = {cell.source.splitlines()[-1]: _types(cell) for cell in executed.cells if cell.cell_type == "code"}
    assert "text/html" in shown["table"]
    assert "image/png" in shown["figure"]
    assert "text/html" in shown["comparison"]
    assert "image/png" in shown['analysis.plot("pareto", students, x="params")']


def test_the_outputs_in_the_repository_are_of_these_cells(executed: Any) -> None:
    if os.environ.get("C2D_WRITE_NOTEBOOK"):
        _without_run(executed)
        nbformat.write(executed, NOTEBOOK)
    stored = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(stored)
    assert [_types(cell) for cell in stored.cells] == [_types(cell) for cell in executed.cells]
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    assert str(Path.home()) not in NOTEBOOK.read_text()


def _types(cell: Any) -> set[str]:
    """The kinds of output of a cell."""
    return {kind for out in cell.get("outputs", ()) for kind in (out.get("data") or {out.output_type: ""})}


def _without_run(notebook: Any) -> None:
    """Remove what differs between two runs: times, addresses, numbers of executions stay those of a fresh run."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata["language_info"] = {"name": "python"}
