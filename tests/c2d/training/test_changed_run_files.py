"""Files of the store that were changed since c2d wrote them: every command says so, and nothing in them runs."""

from __future__ import annotations

import itertools
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from c2d.cli.main import main
from c2d.core.attempt import Interrupted
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, atomic_write_json_gz, read_json
from c2d.core.store_folder import RunStore
from c2d.specs.spec import parse_spec
from c2d.training.train import train
from sweeps.checks import dry_run_process
from tests.c2d.conftest import TINY, TinyStore
from tests.forked_python import SUBPROCESS

COMMANDS = {
    "evaluate": ["evaluate", "{run}"],
    "bench latency": ["bench", "latency", "{run}"],
    "bench step": ["bench", "step", "student.yaml"],
    "inspect": ["inspect", "student.yaml"],
    "train": ["train", "student.yaml"],
    "sweep check": ["sweep", "check", "question.yaml"],
}
PIPELINE = {"student": str(TINY), "schedule": {"name": "smoke", "values": {"iterations": 4, "batch": 4}}}


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def finished(tiny_store: TinyStore) -> RunFolder:
    folder: RunFolder = tiny_store.create_run(4, seed=17)
    train(folder, tiny_store.options())
    return folder


@pytest.fixture
def store(
    tiny_store: TinyStore, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TinyStore]:
    """A store with a finished detector and the kept student, questions that use both; no file `ran` appears."""
    other = tiny_store.with_empty_store(tmp_path)
    shutil.copytree(finished.path, other.runs / finished.id)
    shutil.copytree(RunStore(tiny_store.runs).student_config("").parent, other.runs / "students")
    asked = {"dataset": "scenes", **PIPELINE, "teachers": {"detector": finished.id}}
    atomic_write_json(tmp_path / "student.yaml", {**asked, "method": [{"frs": {}}]})  # JSON is YAML
    teachers = asked.pop("teachers")
    question = {"question": "which?", "base": asked, "teachers": teachers, "seeds": 1}
    atomic_write_json(tmp_path / "question.yaml", {**question, "axes": {"method": {"frs": [{"frs": {}}]}}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("C2D_DATA", str(other.data))
    yield other
    assert not (tmp_path / "ran").exists()


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run of a check is a fork."""
    monkeypatch.setattr(dry_run_process, "subprocess", SUBPROCESS)


def statement(path: Path) -> None:
    path.write_text(f"{path.read_text()}\nopen({str(Path.cwd() / 'ran')!r}, 'w')\n")


def byte(path: Path) -> None:
    text = path.read_text()
    assert "123.675" in text
    path.write_text(text.replace("123.675", "123.676", 1))


def payload(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Payload(Path.cwd() / "ran")}))


def as_earlier_version(store: TinyStore, finished: RunFolder) -> RunFolder:
    """Take config.json and the digests out of the copy of a finished run."""
    run = RunFolder(store.runs / finished.id)
    for path, key in ((run.result, "sha256"), (run.status, "config_sha256")):
        atomic_write_json(path, {name: value for name, value in read_json(path).items() if name != key})
    run.config_json.unlink()
    return run


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that has to end with exit code 2; return what it says."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--runs", "runs"])
    said = capsys.readouterr()
    assert ended.value.code == 2, said.out + said.err
    assert "Traceback" not in said.out + said.err
    return " ".join((said.out + said.err).split())


def call(capsys: pytest.CaptureFixture[str], command: str, run: RunFolder) -> str:
    return refusal(capsys, *(word.format(run=run.id) for word in COMMANDS[command]))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_config_with_a_statement(
    store: TinyStore, finished: RunFolder, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    statement(store.runs / finished.id / "config.py")
    assert "config.py is not the file that the run wrote (its sha256 differs" in call(capsys, command, finished)


@pytest.mark.parametrize("command", ["evaluate", "bench latency", "inspect"])
@pytest.mark.parametrize(("name", "change"), [("config.json", byte), ("config.py", byte), ("student.pth", payload)])
def test_other_changes_of_a_finished_run(
    store: TinyStore, finished: RunFolder, capsys: pytest.CaptureFixture[str], command: str, name: str,
    change: Callable[[Path], None],
) -> None:  # fmt: skip
    change(store.runs / finished.id / name)
    assert f"{name} is not the file that the run wrote (its sha256 differs" in call(capsys, command, finished)


@pytest.mark.parametrize("command", ["evaluate", "bench latency", "inspect"])
def test_a_run_of_an_earlier_version_has_no_digest_and_is_not_executed(
    store: TinyStore, finished: RunFolder, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    statement(as_earlier_version(store, finished).config)
    assert "config.py is \"open('" in call(capsys, command, finished)


def test_a_run_of_an_earlier_version_is_evaluated(store: TinyStore, finished: RunFolder) -> None:
    from c2d.evaluation.evaluate_run import evaluate_run

    assert read_json(finished.result)["sha256"].keys() == {"config.json", "config.py", "student.pth"}
    run = as_earlier_version(store, finished)
    found, _ = evaluate_run(run.id, store.runs, store.data, check=False)
    assert found["AP"] == read_json(finished.result)["AP"]


@pytest.mark.parametrize(
    ("command", "change"),
    [*itertools.product(["bench step", "inspect", "train"], [statement, byte]), ("sweep check", statement)],
)
def test_a_kept_student_that_was_changed(
    store: TinyStore, finished: RunFolder, capsys: pytest.CaptureFixture[str], command: str,
    change: Callable[[Path], None],
) -> None:  # fmt: skip
    (kept,) = (store.runs / "students").glob("*.py")
    change(kept)
    said = call(capsys, command, finished)
    assert f"students/{kept.name}" in said
    assert "nothing of it was executed" in said if change is statement else f"the run needs {kept.stem[:12]}" in said


@pytest.fixture
def stopped(store: TinyStore) -> RunFolder:
    """A run that stopped after two of its four iterations."""
    folder: RunFolder = store.create_run(4, seed=18)
    with pytest.raises(Interrupted):
        train(folder, store.options(stop_after=2))
    return folder


@pytest.mark.parametrize(("name", "change"), [("config.json", byte), ("config.py", byte), ("config.py", statement)])
def test_a_config_that_was_changed_between_two_attempts(
    store: TinyStore, stopped: RunFolder, name: str, change: Callable[[Path], None]
) -> None:
    change(stopped.path / name)
    with pytest.raises(
        InputError, match=rf"{name} is not as the last attempt wrote it; .* remove it, and it is written"
    ):
        train(stopped, store.options())
    (stopped.path / name).unlink()
    assert train(stopped, store.options())["sha256"].keys() >= {"config.json", "config.py"}


def test_a_spec_that_was_changed_between_two_attempts(store: TinyStore, stopped: RunFolder) -> None:
    atomic_write_json(stopped.spec, read_json(stopped.spec) | {"seed": 19})
    with pytest.raises(
        InputError, match=r"spec\.json is the spec of run .*-s19; it was changed, or the folder was renamed"
    ):
        train(stopped, store.options())


@pytest.mark.parametrize("prefix", ["", "mmdet::", "mmdet::../../../../../../../../../../../../.."])
def test_a_spec_that_names_a_file_does_not_execute_it(
    store: TinyStore, stopped: RunFolder, tmp_path: Path, prefix: str
) -> None:
    """A run folder that somebody made, with the name that follows from its spec."""
    code = tmp_path / "code.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nmodel = dict()\n")
    value = read_json(stopped.spec) | {"student": {"name": f"{prefix}{code}", "digest": "0" * 64}}
    made = RunFolder(store.runs / parse_spec(value, "made").id)
    atomic_write_json(made.spec, value)
    with pytest.raises(
        InputError, match=r"student '.*code\.py' (is neither shipped nor kept|lies outside mmdet's configs)"
    ):
        train(made, store.options())


def test_weights_that_were_replaced_between_two_attempts(store: TinyStore, stopped: RunFolder) -> None:
    """A checkpoint that calls a function stops the run; student.pth is written again, whatever lies there."""
    newest = stopped.checkpoint(2)
    sound = newest.read_bytes()
    payload(newest)
    with pytest.raises(InputError, match=r"iter_00000002\.pth is refused: .*call or build io\.open"):
        train(stopped, store.options())
    assert stopped.read_status()["failure_class"] == "config"
    newest.write_bytes(sound)
    payload(stopped.student)
    train(stopped, store.options())
    assert stopped.read_status()["state"] == "done"


def test_ground_truth_of_the_store_is_not_trusted(store: TinyStore, stopped: RunFolder) -> None:
    targets = RunStore(store.runs).targets(read_json(stopped.spec)["dataset"]["digest"])
    truth = read_json(targets)
    for content in (truth | {"annotations": truth["annotations"][:1]}, None):
        atomic_write_json_gz(targets, content)
        if content is None:
            payload(targets)
        ap = train(stopped, store.options())["AP"]
        assert read_json(targets) == truth
        stopped.result.unlink()
    assert ap == train(stopped, store.options())["AP"]
