"""Peak memory: what a process must have held is found, what its parent held is not, and bad requests are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.latency import student_memory
from benchmarks.latency.student_memory import MemoryRequest, measure_peak
from benchmarks.machine import peak_memory
from c2d.core.errors import InputError, RunError
from c2d.core.process.python_process import module_command, module_environment
from tests.forked_python import SUBPROCESS

CONFIG = Path(__file__).parents[2] / "fixtures" / "students" / "tiny-retinanet.py"
MIB = 2**20


@pytest.mark.parametrize("mib", [50, 200])
def test_a_held_allocation_is_in_the_peak(mib: int) -> None:
    """An array of so many MiB that is gone again, while this process holds one of 600."""
    mine = np.ones(600 * MIB // 8)
    code = (
        "import numpy; from c2d.core.process.process_cost import resident_peak_mib as now; before = now(); "
        f"numpy.ones({mib} * {MIB} // 8); print(before, now())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert after - before == pytest.approx(mib, abs=5)
    assert before < 400
    assert len(mine)


def test_training_needs_more_than_inference_and_a_batch_more_than_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of the backward pass, gradients and momentum: the reasons why training does not fit."""
    monkeypatch.setattr(student_memory, "subprocess", SUBPROCESS)
    found = {
        (kind, batch): measure_peak(MemoryRequest(str(CONFIG), kind, batch, (256, 256), threads=1))  # type: ignore[arg-type]
        for kind, batch in (("inference", 1), ("training", 1), ("training", 8))
    }
    own = {key: one["peak_mib"] for key, one in found.items()}
    assert 0 < own["inference", 1] < own["training", 1] < own["training", 8]
    # Eight noise images alone are 6 MiB; the first maps of the stem a multiple of that.
    assert own["training", 8] - own["training", 1] > 7 * 3 * 256 * 256 * 4 / MIB
    assert found["training", 8]["size"] == (256, 256)


def test_a_peak_is_reset_or_a_note_reports_why_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """300 MiB that are gone before the calls do not count; 100 MiB that every call holds do."""
    code = (
        "import numpy; from benchmarks.machine import peak_memory; base = peak_memory.resident_mib(); "
        "numpy.ones(300 * 2**20 // 8); "
        "print(peak_memory.peak_of_calls(lambda: numpy.ones(100 * 2**20 // 8), 'cpu', base))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(100, abs=5)
    assert peak_memory.peak_caveat("cpu") == peak_memory.peak_caveat("cuda:0") == ""
    monkeypatch.setattr(peak_memory, "CLEAR_REFS", tmp_path / "absent")
    assert "so building is in it" in peak_memory.peak_caveat("cpu")


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config .*nothing\.py"):
        measure_peak(MemoryRequest(str(tmp_path / "nothing.py"), "inference", 1, (96, 96)))
    with pytest.raises(InputError, match="has to be 1 or more"):
        measure_peak(MemoryRequest(str(CONFIG), "inference", 0, (96, 96)))


def test_a_batch_that_does_not_fit_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(code: int, messages: str) -> None:
        done = subprocess.CompletedProcess([], code, "", messages)
        monkeypatch.setattr(student_memory.subprocess, "run", lambda *_, **__: done)

    request = MemoryRequest(str(CONFIG), "training", 64, (96, 96))
    answer(1, "Traceback ...\nRuntimeError: [enforce fail at ...] DefaultCPUAllocator: can't allocate memory: 8 bytes")
    with pytest.raises(RunError, match="batch of 64 at 96 x 96 px on cpu does not fit in memory") as caught:
        measure_peak(request)
    assert caught.value.failure_class == "oom"
    answer(-9, "")
    with pytest.raises(RunError, match="does not fit in memory: exit code -9"):
        measure_peak(request)
    answer(1, "Traceback ...\nKeyError: 'bbox_head'")
    with pytest.raises(RunError, match="failed: KeyError") as caught:
        measure_peak(request)
    assert caught.value.failure_class == "unknown"


def test_the_module_answers_with_one_line_of_json() -> None:
    asked = {"config": str(CONFIG), "kind": "inference", "batch": 1, "size": [96, 96], "threads": 1}
    done = subprocess.run(
        module_command("benchmarks.latency.student_memory", json.dumps(asked)),
        env=module_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(done.stdout.splitlines()[-1])) == {"peak_mib"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_only_tensors_count() -> None:
    found = measure_peak(MemoryRequest(str(CONFIG), "inference", 1, (256, 256), "cuda"))
    assert 0 < found["peak_mib"] < 500
