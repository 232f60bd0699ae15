"""The parsers that are fuzzed: each target writes its input to a file and reads it as the commands do."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import InputError

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"
RUN, TEACHER = "tiny-retinanet-icod-906672b67f51-s0", "resnet18-classifier-8b26211ff2a3-s0"
SWEEP = "tiny"
NOW = 1.8e9
PLAN_FILES, REPORT_FILES = (
    ("status.json", "job.json", "attempts.jsonl"),
    ("status.json", "spec.json", "env.json", "result.json"),
)
"""Files of a run that the plan reads, and that the report reads."""
Parse = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        make: returns the function that is given an input; `folder` is empty and its own.
        modules: the modules whose coverage is counted.
        seeds: shipped documents to change, besides the corpus: patterns relative to the repository.
    """

    make: Callable[[Path], Parse]
    modules: tuple[str, ...]
    seeds: tuple[str, ...] = ()


def _question(folder: Path) -> Parse:
    from c2d.specs.names import look_up_names, names_in
    from sweeps.definition.definition import read_definition
    from sweeps.definition.expand import expand

    path, store = folder / "question.yaml", _store(folder)

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        definition = read_definition(str(path))
        cells = definition.cells()
        return expand(definition, cells, look_up_names(names_in(cell.values for cell in cells), store, folder))

    return parse


def _profile(folder: Path) -> Parse:
    from sweeps.definition.profile import load_profile

    path = folder / "profile.yaml"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return load_profile(str(path))

    return parse


def _train_spec(folder: Path) -> Parse:
    from c2d.core.yaml.yaml_lines import read_mapping
    from c2d.specs.resolve_spec import resolve_spec

    path, store = folder / "spec.yaml", _store(folder)

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return resolve_spec(read_mapping(path, "a spec"), where=path.name, runs=store, data=folder)

    return parse


def _report_spec(folder: Path) -> Parse:
    from analysis.report.report_spec import read_spec

    path = folder / "report.yaml"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read_spec(path)

    return parse


def _coco(folder: Path) -> Parse:
    from c2d.data.card import annotation_digest, card_digest
    from c2d.data.coco.check_coco import check_coco
    from c2d.data.coco_file import read_coco
    from c2d.data.soft_label_checks import check_soft_labels

    path = folder / "instances_val.json"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        report = check_coco([(path, None)], workers=1)
        for issue in report.issues:
            str(issue).encode()
        if not any(issue.severity == "error" for issue in report.issues):
            coco = read_coco(path)
            check_soft_labels(coco, path.name)
            card_digest(report.classes, {"val": annotation_digest(coco)})
        return report

    return parse


def _scored(folder: Path, changed: str) -> Parse:
    """Both files of `c2d score`, one of which is the input."""
    from c2d.metrics.scoring.score_files import score_files

    truth, found = folder / "truth.json", folder / "found.json"
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    objects = [{"id": 1, **box}, {"id": 2, **box, "iscrowd": 1}]
    truth.write_text(json.dumps({"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": objects}))
    found.write_text(json.dumps([{**box, "score": 0.5}]))

    def parse(data: bytes) -> object:
        (folder / changed).write_bytes(data)
        return score_files(truth, found)

    return parse


def _truth(folder: Path) -> Parse:
    return _scored(folder, "truth.json")


def _results(folder: Path) -> Parse:
    return _scored(folder, "found.json")


def _compared_run(folder: Path) -> Parse:
    from analysis.comparison.sides import read_pair

    store = _store(folder)
    path = store / RUN / "result.json"
    shutil.copytree(FIXTURE / "targets", store / "targets")
    shutil.copy(FIXTURE / RUN / "detections.json.gz", store / RUN)

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read_pair(RUN, RUN, None, store)

    return parse


def _voc(folder: Path) -> Parse:
    from c2d.data.voc.voc_xml import BadAnnotation, drop_repeated, read_annotation

    path = folder / "a.xml"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        try:
            annotation = read_annotation(path)
            drop_repeated(annotation)
        except BadAnnotation as error:
            raise InputError(str(error)) from None
        return annotation

    return parse


def _card(folder: Path) -> Parse:
    from c2d.data.card_lookup import data_reference, load_card

    path = folder / "card.json"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        data_reference(str(path))
        return load_card(str(path))

    return parse


def _run_file(name: str) -> Callable[[Path], Parse]:
    """A file of a run, read by the plan, the status and the report."""

    def make(folder: Path) -> Parse:
        from analysis.loading.cache import Cache
        from analysis.loading.run_row import read_run_row
        from c2d.core.job_file import read_attempts
        from c2d.core.run_folder import RunFolder
        from c2d.core.sweep_manifest import PlannedRun
        from c2d.specs.teacher_runs import teacher_result
        from sweeps.failures.retry_policy import exhausted
        from sweeps.state.failure_groups import group_failures
        from sweeps.state.plan import plan_rows
        from sweeps.state.status import summarize

        store = _store(folder)
        run = RunFolder(store / (TEACHER if name == "result.json" else RUN))
        planned = [PlannedRun(run.id, "student")]
        if name == "attempts.jsonl":
            status = json.loads(run.status.read_text())
            run.status.write_text(json.dumps({**status, "state": "failed"}))
        path = run.path / name

        def parse(data: bytes) -> object:
            path.write_bytes(data)
            if name in PLAN_FILES:
                rows = plan_rows(planned, store, {}, queue_answered=False, now=NOW)
                json.dumps(summarize(rows, {}, NOW), allow_nan=False).encode()
                exhausted("killed", read_attempts(run))
                if name == "status.json" and rows[0].state == "failed":
                    group_failures(rows)
            if name in REPORT_FILES:
                row = read_run_row(store, run.id, Cache(), NOW)
                str(row.values["reason"]).encode()
            return teacher_result(run, "classifier") if name == "result.json" else None

        return parse

    return make


def _manifest(folder: Path) -> Parse:
    from c2d.core.store_folder import RunStore
    from c2d.core.sweep_manifest import manifest_axes, manifest_runs, planned_runs
    from sweeps.state.manifest import load_manifest
    from sweeps.state.store_sweeps import list_sweeps

    store = folder / "runs"
    path = RunStore(store).manifest(SWEEP)
    path.parent.mkdir(parents=True)

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        list_sweeps(store, NOW)
        manifest = load_manifest(store, SWEEP)
        return planned_runs(manifest), manifest_axes(manifest), manifest_runs(manifest), json.dumps(manifest).encode()

    return parse


def _submission(folder: Path) -> Parse:
    from sweeps.launchers.submission import read_folders
    from sweeps.scheduler.array_file import read_array

    def parse(data: bytes) -> object:
        for name in ("array.json", "folders.txt"):
            (folder / name).write_bytes(data)
        return read_array(folder), read_folders(folder)

    return parse


def _slurm(folder: Path) -> Parse:
    from sweeps.scheduler.pending_reasons import find_pending_reason
    from sweeps.scheduler.sbatch import cause_of
    from sweeps.scheduler.scontrol import parse_job_start
    from sweeps.scheduler.slurm_output import count_of, expand, join_jobs, parse_sacct, parse_squeue
    from sweeps.state.run_facts import is_just_completed_job

    def parse(data: bytes) -> object:
        text = data.decode(errors="replace")
        rows = [*parse_squeue(text), *parse_sacct(text)]
        for facts in rows:
            join_jobs(expand(facts.job, ["123_0", "123_4", "7"]))
            count_of(facts.job)
            find_pending_reason(facts.reason)
            is_just_completed_job(facts, NOW)
        cause_of(text)
        return parse_job_start(text)

    return parse


def _label(folder: Path) -> Parse:
    from c2d.markup.label_text import has_math, parse_label, plain_label

    def parse(data: bytes) -> object:
        text = data.decode(errors="replace")
        has_math(text)
        parse_label(text)
        return plain_label(text)

    return parse


def _text_embeddings(folder: Path) -> Parse:
    from c2d.teachers.fitting.text_embeddings import read_embeddings

    path = folder / "text"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read_embeddings(path)

    return parse


def _weights(suffix: str) -> Callable[[Path], Parse]:
    def make(folder: Path) -> Parse:
        from c2d.weights import safe_load

        path = folder / f"w{suffix}"

        def parse(data: bytes) -> object:
            path.write_bytes(data)
            return safe_load.weights_of(safe_load.load(path))

        return parse

    return make


def _log(folder: Path) -> Parse:
    from sweeps.failures.diagnose import diagnose
    from sweeps.failures.evidence import Evidence
    from sweeps.failures.log_patterns import key_lines, newest_attempt, split_ranks

    def parse(data: bytes) -> object:
        path = folder / "log.txt"
        path.write_bytes(data)
        from c2d.core.regular_file import read_log_tail

        text = "\n".join(newest_attempt(read_log_tail(path), 0.0))
        key_lines(split_ranks(text), None)
        return [diagnose(Evidence(exit_code=code, log_tail=text)) for code in (None, 1, 137)]

    return parse


def _config(folder: Path) -> Parse:
    from c2d.configs.config_literals import config_source, parse_config_source

    def parse(data: bytes) -> object:
        values = parse_config_source(data.decode(errors="replace"), "config.py")
        return config_source(values)

    return parse


def _config_json(folder: Path) -> Parse:
    from c2d.configs.run_config import read_run_config
    from c2d.core.run_folder import RunFolder

    run = RunFolder(folder)

    def parse(data: bytes) -> object:
        run.config_json.write_bytes(data)
        return read_run_config(run)

    return parse


def _metrics(folder: Path) -> Parse:
    from sweeps.state.curve_tail import read_curve_tail, with_last_score

    path = folder / "metrics.jsonl"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return with_last_score(read_curve_tail(path), path)

    return parse


def _latency(folder: Path) -> Parse:
    from analysis.loading.latency_file import read_latency_file

    path = folder / "cpu.json"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read_latency_file(path)

    return parse


_JSON = ("c2d.core.json_values", "c2d.core.regular_file")
_YAML = ("c2d.core.yaml.yaml_lines", "c2d.core.yaml.yaml_scalars")


def _archive(folder: Path) -> Parse:
    from c2d.data.fetch.unpack import unpack

    def parse(data: bytes) -> object:
        path, out = folder / ("data.zip" if data[:2] == b"PK" else "data.tar"), folder / "out"
        path.write_bytes(data)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return unpack(path, out, ("a/",), lambda line: None)

    return parse


def _run_archive(folder: Path) -> Parse:
    """An archive file of runs; inputs without the signature of xz are its content, which is compressed here."""
    import lzma

    from c2d.core.archives.unpack_archive import unpack_archive

    def parse(data: bytes) -> object:
        path, out = folder / "a.tar.xz", folder / "out"
        path.write_bytes(data if data[:6] == XZ_MAGIC else lzma.compress(data, preset=0))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return unpack_archive(path, out)

    return parse


XZ_MAGIC = b"\xfd7zXZ\0"
TARGETS: dict[str, Target] = {
    "run_archive": Target(
        _run_archive, ("c2d.core.archives.unpack_archive", "c2d.core.archives.archive_index", *_JSON)
    ),
    "question": Target(
        _question,
        ("sweeps.definition.definition", "sweeps.definition.axes", "sweeps.definition.grid", *_YAML),
        ("sweeps/defs/icod_*.yaml",),
    ),
    "profile": Target(
        _profile, ("sweeps.definition.profile", "sweeps.definition.sbatch_flags", *_YAML), ("sweeps/profiles/*.yaml",)
    ),
    "train_spec": Target(
        _train_spec, ("c2d.specs.resolve_spec", "c2d.specs.method_schema", "c2d.specs.schedule", *_YAML)
    ),
    "report_spec": Target(
        _report_spec,
        (
            "analysis.report.report_spec",
            "analysis.spec.table_spec",
            "analysis.spec.claims_spec",
            "analysis.spec.claim_sides",
            *_YAML,
        ),
        ("analysis/reports/*.yaml",),
    ),
    "truth": Target(
        _truth,
        (
            "c2d.metrics.coco_json",
            "c2d.metrics.coco_data",
            "c2d.metrics.record_columns",
            "c2d.metrics.scoring.score_files",
        ),
    ),
    "results": Target(
        _results,
        (
            "c2d.metrics.coco_json",
            "c2d.metrics.coco_data",
            "c2d.metrics.record_columns",
            "c2d.metrics.scoring.score_files",
        ),
    ),
    "compared_run": Target(
        _compared_run, ("analysis.comparison.sides",), ("tests/fixtures/runs/tiny-retinanet-icod*/result.json",)
    ),
    "coco": Target(
        _coco,
        (
            "c2d.data.coco_file",
            "c2d.data.coco.coco_rows",
            "c2d.data.coco.check_coco",
            "c2d.data.card",
            "c2d.data.soft_label_checks",
        ),
    ),
    "voc": Target(_voc, ("c2d.data.voc.voc_xml",)),
    "archive": Target(_archive, ("c2d.data.fetch.unpack",)),
    "card": Target(_card, ("c2d.data.card", "c2d.data.card_lookup")),
    "status": Target(
        _run_file("status.json"), ("c2d.core.status_shape", *_JSON), ("tests/fixtures/runs/*/status.json",)
    ),
    "job": Target(_run_file("job.json"), ("c2d.core.job_file", *_JSON)),
    "attempts": Target(_run_file("attempts.jsonl"), ("c2d.core.job_file", "sweeps.failures.retry_policy", *_JSON)),
    "result": Target(
        _run_file("result.json"),
        ("analysis.loading.flatten", "analysis.loading.run_row", "c2d.specs.teacher_runs"),
        ("tests/fixtures/runs/resnet*/result.json",),
    ),
    "run_spec": Target(
        _run_file("spec.json"), ("analysis.loading.flatten", "c2d.specs.spec"), ("tests/fixtures/runs/*-s0/spec.json",)
    ),
    "environment": Target(
        _run_file("env.json"), ("analysis.loading.flatten", *_JSON), ("tests/fixtures/runs/*-s0/env.json",)
    ),
    "metrics": Target(_metrics, ("sweeps.state.eta", *_JSON), ("tests/fixtures/runs/*-s0/metrics.jsonl",)),
    "manifest": Target(
        _manifest, ("c2d.core.sweep_manifest", "sweeps.state.manifest", *_JSON), ("tests/fixtures/runs/sweeps/*.json",)
    ),
    "submission": Target(_submission, ("sweeps.launchers.submission", *_JSON)),
    "latency": Target(_latency, ("analysis.loading.latency_file",), ("tests/fixtures/runs/*/latency/*.json",)),
    "slurm": Target(
        _slurm, ("sweeps.scheduler.slurm_output", "sweeps.scheduler.scontrol"), ("tests/fixtures/failures/*/sacct.txt",)
    ),
    "log": Target(
        _log,
        ("sweeps.failures.log_patterns", "sweeps.failures.diagnose"),
        (
            "tests/fixtures/failures/*/*.txt",
            "tests/fixtures/failures/*/sacct.txt",
        ),
    ),
    "label": Target(_label, ("c2d.markup.label_text",)),
    "config": Target(_config, ("c2d.configs.config_literals",), ("tests/fixtures/runs/*-s0/config.py",)),
    "config_json": Target(_config_json, ("c2d.configs.stored_config", "c2d.configs.run_config", *_JSON)),
    "pickle": Target(_weights(".pth"), ("c2d.weights.safe_load", "c2d.weights.torch_file", "c2d.weights.pickle_scan")),
    "safetensors": Target(_weights(".safetensors"), ("c2d.weights.safe_load",)),
    "text_embeddings": Target(_text_embeddings, ("c2d.teachers.fitting.text_embeddings", "c2d.weights.safe_load")),
}
"""{name: target}."""


def make_target(name: str) -> Parse:
    """Return the function of a target, with a folder of its own in memory that the end of the process removes."""
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix=f"c2d-fuzz-{name}-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return TARGETS[name].make(folder)


def seeds_of(name: str, corpus: list[bytes]) -> list[bytes]:
    """Return the documents to change: the shipped ones and the corpus; of at most 64 KiB."""
    root = Path(__file__).parents[3]
    shipped = [path.read_bytes() for pattern in TARGETS[name].seeds for path in sorted(root.glob(pattern))[:4]]
    return [document for document in [*corpus, *shipped] if len(document) <= 65536]


def _store(folder: Path) -> Path:
    """A store with a student and its teacher, both done."""
    store = folder / "runs"
    for name in (RUN, TEACHER):
        (store / name).mkdir(parents=True)
        for file in ("spec.json", "status.json", "env.json", "result.json"):
            shutil.copy(FIXTURE / name / file, store / name / file)
    return store
