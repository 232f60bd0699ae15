"""The kept inputs of every parser, and some new ones: each returns or raises one of our errors, quickly."""

from __future__ import annotations

import importlib.util
import warnings

import pytest

from tests.trust.fuzz.campaign import CORPUS, Recorder, corpus_of, run_hypothesis
from tests.trust.fuzz.targets import TARGETS, make_target, seeds_of

EXAMPLES = 200


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_ends_a_parser_with_a_traceback(name: str) -> None:
    corpus = corpus_of(name)
    documents = seeds_of(name, corpus)
    assert documents
    parse = make_target(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorder = Recorder(parse)
        for data in corpus:
            recorder(data)
        found = recorder.finish()
        found.add(run_hypothesis(parse, documents, EXAMPLES, seed=0))
    assert found.inputs >= EXAMPLES
    assert not {place: bytes.fromhex(data) for place, data in found.failures.items()}


def test_a_failure_is_found() -> None:
    """The campaign sees what it looks for: an exception, a message without text, an input that takes too long."""

    def parse(data: bytes) -> None:
        if b"done" in data:
            raise KeyError("x")

    found = run_hypothesis(parse, [b'{"state": "waiting", "a": 1}'], 500, seed=0)
    assert list(found.failures) == ["KeyError in tests/trust/fuzz/test_fuzz.py:38"]
    assert b"done" in bytes.fromhex(next(iter(found.failures.values())))


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.glob("*/*")]
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(name for name in TARGETS if corpus_of(name))
    assert max(sizes) <= 20_000
    assert sum(sizes) < 600_000


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (extra `trust`)")
def test_a_process_of_one_target_counts_its_inputs() -> None:
    from tests.trust.fuzz.run_target import run_targets

    (row,) = run_targets(["label"], 400, seed=1)
    assert (row.target, row.engine, row.outcome.failures) == ("label", "atheris", {})
    assert row.outcome.inputs == 400
    assert row.coverage is None or row.coverage > 50
