"""doctor: every check on fake machines, and the command on this machine."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from c2d.cli.checks import check_result, machine_checks, package_checks, system_checks
from c2d.cli.checks.check_result import CheckResult
from c2d.cli.doctor import doctor

CONTINUED = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmdetection": "3.5.1"}
UPSTREAM = {"mmengine": "0.10.7", "mmcv": "2.2.0", "mmdet": "3.3.0"}

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """machine({"torch": "2.15.0"}, modules={...}, tools={...}): that and nothing else is installed.

    A module given as an exception raises it when it is imported; one that is not given imports as an empty module.
    """

    def make(
        versions: dict[str, str], modules: dict[str, Any] | None = None, tools: dict[str, str] | None = None
    ) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        def load(name: str) -> Any:
            module = (modules or {}).get(name, ModuleType(name))
            if isinstance(module, Exception):
                raise module
            return module

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(check_result, "load_module", load)
        monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"c2d": ["c2d-suite"]})
        monkeypatch.setattr("shutil.which", lambda tool: (tools or {}).get(tool))

    return make


def fake_torch(cuda: str | None = None, cards: int = 0) -> Any:
    card = SimpleNamespace(name="Big GPU", total_memory=80 * 2**30)
    return SimpleNamespace(
        __version__="2.15.0",
        version=SimpleNamespace(cuda=cuda),
        zeros=lambda *size: size,
        cuda=SimpleNamespace(
            is_available=lambda: cards > 0, device_count=lambda: cards, get_device_properties=lambda i: card
        ),
    )


def test_a_core_installation_is_no_failure(machine: Machine, tmp_path: Path) -> None:
    core = {"numpy": "2.4.6", "pycocotools": "2.0.11", "hotcoco": "1.3.0", "opencv-python-headless": "4.12.0"}
    machine(core, modules={"cv2": SimpleNamespace(__version__="4.12.0")})
    checks = {check.name: check for check in system_checks.run_checks(tmp_path)}
    assert [name for name, check in checks.items() if check.status == "fail"] == []
    for name in ("torch", "torchvision", "host"):
        assert checks[name].status == "warn"
        assert "c2d-suite[train]" in checks[name].fix
    assert checks["GPU"].found.startswith("not checked")


def test_an_empty_machine_names_every_problem_with_a_fix(machine: Machine, tmp_path: Path) -> None:
    machine({})
    problems = [check for check in system_checks.run_checks(tmp_path) if check.status != "ok"]
    assert {check.name for check in problems} >= {"torch", "host", "numpy", "OpenCV", "pycocotools", "hotcoco"}
    assert all(check.fix for check in problems)


def test_a_check_that_raises_is_reported_and_the_others_run(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({})

    def broken() -> CheckResult:
        raise OSError("no\nsuch device")

    monkeypatch.setattr(machine_checks, "check_gpu", broken)
    checks = {check.name: check for check in system_checks.run_checks(tmp_path)}
    assert checks["GPU"].status == "fail"
    assert checks["GPU"].found == "the check itself failed: OSError: no such device"
    assert checks["disk"].status in ("ok", "warn", "fail")


def test_torch_that_does_not_import(machine: Machine) -> None:
    machine({"torch": "2.15.0"}, modules={"torch": OSError("libcudart.so.13: cannot open shared object file")})
    check = package_checks.check_torch()
    assert check.status == "fail"
    assert "libcudart" in check.found
    assert "2.15.0" in check.fix


@pytest.mark.parametrize(
    ("versions", "status"),
    [
        ({}, "warn"),
        ({"torch": "2.15.0"}, "fail"),
        ({"torchvision": "0.29.2"}, "fail"),
        ({"torch": "2.15.0", "torchvision": "0.29.2"}, "ok"),
    ],
)
def test_torchvision_and_torch_come_as_a_pair(machine: Machine, versions: dict[str, str], status: str) -> None:
    machine(versions, modules={"torch": fake_torch(), "torchvision.ops": SimpleNamespace(nms=lambda *a: a)})
    assert package_checks.check_torchvision().status == status


def test_torchvision_whose_operators_do_not_fit(machine: Machine) -> None:
    def nms(*_: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    versions = {"torch": "2.14.0", "torchvision": "0.29.2"}
    machine(versions, modules={"torch": fake_torch(), "torchvision.ops": SimpleNamespace(nms=nms)})
    check = package_checks.check_torchvision()
    assert check.status == "fail"
    assert "torchvision::nms does not exist" in check.found
    assert "torch torchvision" in check.fix


@pytest.mark.parametrize(
    ("versions", "status", "found", "fix"),
    [
        (CONTINUED, "ok", "continued: onedl-mmengine 0.10.12", ""),
        (UPSTREAM, "warn", "upstream: mmengine 0.10.7", "pip uninstall -y mmengine mmcv mmdet"),
        (CONTINUED | UPSTREAM, "fail", "both flavours", "pip uninstall -y onedl-mmengine onedl-mmcv"),
        (CONTINUED | {"mmcv": "2.2.0"}, "fail", "both flavours", "mmcv"),
        ({"onedl-mmcv": "2.3.6"}, "fail", "missing: onedl-mmengine, onedl-mmdetection", "pip install onedl-mmengine"),
        ({}, "warn", "missing: mmengine, mmcv, mmdet", "c2d-suite[train]"),
    ],
)
def test_flavours_of_the_host(machine: Machine, versions: dict[str, str], status: str, found: str, fix: str) -> None:
    machine(versions)
    check = package_checks.check_host()
    assert check.status == status
    assert found in check.found
    assert fix in check.fix


@pytest.mark.parametrize(("ext", "found"), [("compiled", "mmcv's own"), ("stand-in", "replacements on torchvision")])
def test_compiled_ops_or_replacements(machine: Machine, ext: str, found: str) -> None:
    compat = SimpleNamespace(prepare=lambda: SimpleNamespace(ext=ext), install_command=lambda: "pip install X")
    machine(CONTINUED | {"torch": "2.15.0"}, modules={"c2d.detectors.compat": compat})
    check = package_checks.check_compiled_ops()
    assert check.status == "ok"
    assert found in check.found


def test_ops_that_cannot_be_loaded(machine: Machine) -> None:
    def prepare() -> None:
        raise ImportError("mmcv's compiled ops are installed but cannot be loaded")

    machine(CONTINUED | {"torch": "2.15.0"}, modules={"c2d.detectors.compat": SimpleNamespace(prepare=prepare)})
    check = package_checks.check_compiled_ops()
    assert check.status == "fail"
    assert "cannot be loaded" in check.found


def test_gpus(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    versions, smi = {"torch": "2.15.0"}, {"nvidia-smi": "/usr/bin/nvidia-smi"}
    answer = SimpleNamespace(returncode=0, stdout="580.65.06\n580.65.06\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: answer)

    machine(versions, modules={"torch": fake_torch("13.2", cards=2)}, tools=smi)
    assert machine_checks.check_gpu() == CheckResult(
        "GPU", "ok", "Big GPU (80 GiB), Big GPU (80 GiB); driver 580.65.06"
    )
    machine(versions, modules={"torch": fake_torch(None)}, tools=smi)
    assert machine_checks.check_gpu().status == "warn"
    assert "CPU only" in machine_checks.check_gpu().found
    machine(versions, modules={"torch": fake_torch("13.2")}, tools=smi)
    assert "built for CUDA 13.2" in machine_checks.check_gpu().found
    machine(versions, modules={"torch": fake_torch(None)})
    assert machine_checks.check_gpu() == CheckResult("GPU", "ok", "none; everything runs on the CPU")


def test_opencv(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"opencv-python": "5.0.0", "opencv-python-headless": "4.12.0"}
    cv2 = {"cv2": SimpleNamespace(__version__="5.0.0")}
    monkeypatch.setattr(package_checks, "_is_complete", lambda name: False)
    machine(both, modules=cv2)
    check = package_checks.check_opencv()
    assert check.status == "warn"
    assert "overwritten by opencv-python;" in check.found
    assert "pip uninstall -y opencv-python opencv-python-headless" in check.fix
    assert "opencv-python-headless==4.12.0" in check.fix

    monkeypatch.setattr(package_checks, "_is_complete", lambda name: True)
    assert package_checks.check_opencv().status == "ok"
    machine({"opencv-python": "5.0.0"}, modules=cv2)
    assert package_checks.check_opencv().status == "ok"
    machine(both, modules={"cv2": ImportError("libGL.so.1: cannot open shared object file")})
    assert package_checks.check_opencv().status == "fail"
    assert "libGL" in package_checks.check_opencv().found


def test_a_distribution_is_whole_when_its_files_have_the_recorded_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.so").write_bytes(b"12345")

    def files(size: int | None, name: str = "a.so") -> list[Any]:
        return [SimpleNamespace(size=size, locate=lambda: tmp_path / name)]

    for recorded, whole in ((files(5), True), (files(6), False), (files(None), True), (files(5, "b.so"), False)):
        monkeypatch.setattr(importlib.metadata, "files", lambda name, recorded=recorded: recorded)
        assert package_checks._is_complete("x") is whole


@pytest.mark.parametrize(
    ("tools", "silent", "status", "found"),
    [
        (
            machine_checks.SLURM,
            "",
            "ok",
            "23.11.4, partitions main, gpu, accounting; sbatch, squeue, sacct, scontrol at /opt/bin",
        ),
        (machine_checks.SLURM, "sacct", "warn", "23.11.4, partitions main, gpu, no accounting; sbatch"),
        (machine_checks.SLURM, "sinfo", "warn", "23.11.4: the controller does not answer; sbatch"),
        (("sbatch", "squeue"), "", "warn", "sbatch, squeue; missing: sacct, scontrol"),
        ((), "", "ok", "none on this machine"),
    ],
)
def test_slurm(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tools: tuple[str, ...], silent: str, status: str, found: str
) -> None:
    machine({}, tools={tool: f"/opt/bin/{tool}" for tool in tools})
    messages = {"sbatch": "slurm 23.11.4\n", "sinfo": "main\ngpu\nmain\n", "sacct": ""}

    def run(command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, int(command[0] == silent), messages[command[0]], "")

    monkeypatch.setattr(subprocess, "run", run)
    check = machine_checks.check_slurm()
    assert check.status == status
    assert check.found.startswith(found)
    assert bool(check.fix) == (status != "ok")


def test_a_tool_that_hangs_or_is_missing_gives_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: tuple[str, ...], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 20)

    assert machine_checks._output_of("no-such-tool") == ""
    monkeypatch.setattr(subprocess, "run", hang)
    assert machine_checks._output_of("sinfo", empty="x") == ""


def test_timm_is_optional_and_packages_must_import(machine: Machine) -> None:
    machine({})
    assert package_checks.check_timm().status == "ok"
    machine({"timm": "1.0", "hotcoco": "1.3"}, modules={"timm": ImportError("x"), "hotcoco": ImportError("y")})
    assert package_checks.check_timm().status == "warn"
    check = package_checks.check_package("hotcoco", "hotcoco", "warn", "; until then: --engine reference")
    assert "does not import (ImportError: y)" in check.found
    assert "--engine reference" in check.fix


@pytest.mark.parametrize(("gib", "status"), [(100, "ok"), (5, "warn"), (0.5, "fail")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: float, status: str) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=int(gib * 2**30)))
    assert machine_checks.check_disk("disk", tmp_path).status == status
    monkeypatch.setattr("os.access", lambda *a: False)
    assert "not writable" in machine_checks.check_disk("disk", tmp_path).found


def test_an_existing_store_is_checked(machine: Machine, tmp_path: Path) -> None:
    machine({})
    assert "disk of runs/" not in [check.name for check in system_checks.run_checks(tmp_path)]
    (tmp_path / "runs").mkdir()
    assert system_checks.run_checks(tmp_path)[-1].name == "disk of runs/"


def _distribution(origin: dict[str, Any] | None) -> Any:
    return lambda name: SimpleNamespace(read_text=lambda file: None if origin is None else json.dumps(origin))


SOURCE = Path(package_checks.__file__).resolve().parents[3].as_uri()


@pytest.mark.parametrize(
    ("owners", "origin", "found"),
    [
        ({"c2d": ["c2d-suite"], "sweeps": ["C2D_suite", "c2d.suite"]}, None, ""),
        ({"analysis": ["c2d"]}, {"url": SOURCE, "dir_info": {"editable": True}}, ""),
        ({"analysis": ["c2d"]}, {"url": SOURCE, "dir_info": {}}, "c2d 1.2 owns analysis too"),
        ({"analysis": ["c2d"]}, {"url": "file:///other", "dir_info": {"editable": True}}, "c2d 1.2 owns analysis too"),
        ({"c2d": ["c2d-suite", "c2d"], "benchmarks": ["c2d", "x"]}, None, "c2d 1.2 owns c2d, benchmarks too; x 3"),
    ],
)
def test_other_distributions_that_own_our_import_names(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    owners: dict[str, list[str]],
    origin: dict[str, Any] | None,
    found: str,
) -> None:
    machine({"c2d": "1.2", "x": "3"})
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)
    monkeypatch.setattr(importlib.metadata, "distribution", _distribution(origin))
    check = package_checks.check_import_names()
    assert check.status == ("warn" if found else "ok")
    if found:
        assert check.found.startswith(found)
        assert check.fix.startswith(f"pip uninstall -y c2d{' x' if 'x 3' in found else ''} && pip install ")
        assert "a separate virtual environment" in check.fix


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(doctor)
    return app


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_command_prints_fixes_and_exits_by_the_worst(
    monkeypatch: pytest.MonkeyPatch, status: Any, code: int
) -> None:
    check = CheckResult("torch", status, "found [this]", "pip install " + "x" * 200)
    monkeypatch.setattr(system_checks, "run_checks", lambda: [check])
    table = CliRunner().invoke(command(), [])
    assert table.exit_code == code
    assert "found [this]" in table.output
    assert (f"torch: fix: {check.fix}\n" in table.output) == (status != "ok")
    answer = CliRunner().invoke(command(), ["--json"])
    assert answer.exit_code == code
    content = json.loads(answer.output)
    assert content["ok"] == (code == 0)
    assert content["checks"] == [{"name": "torch", "status": status, "found": "found [this]", "fix": check.fix}]


def test_the_command_on_this_machine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "c2d", "doctor", "--json"], capture_output=True, text=True, timeout=300, check=False
    )
    content = json.loads(done.stdout)
    assert done.returncode == (0 if content["ok"] else 1)
    assert {check["name"] for check in content["checks"]} >= {"python", "torch", "host", "GPU", "SLURM", "disk"}
    assert all(check["fix"] for check in content["checks"] if check["status"] != "ok")


def test_modules_of_the_command_import_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "rich.table")
    code = f"import sys, c2d.cli.doctor, c2d.cli.checks.system_checks; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
