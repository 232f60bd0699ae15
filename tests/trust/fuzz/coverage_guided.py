"""atheris on one target: coverage-guided inputs from the corpus. Run in a process of its own, because it never returns.

`python -m tests.trust.fuzz.coverage_guided TARGET INPUTS SEED OUTCOME FOLDER`: FOLDER takes the inputs that reached new
code, OUTCOME is what `campaign.Outcome.write` writes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import sys
import warnings
from pathlib import Path

import atheris

from tests.trust.fuzz.campaign import Recorder, corpus_of
from tests.trust.fuzz.edits import editor_of, random_edits
from tests.trust.fuzz.targets import TARGETS, make_target, seeds_of

MAX_LENGTH = 16384
SAVED_EVERY = 2000


def main(arguments: list[str]) -> None:
    """Fuzz until the number of inputs is reached, write the outcome and end the process."""
    name, inputs, seed, outcome, folder = arguments[0], int(arguments[1]), int(arguments[2]), *map(Path, arguments[3:5])
    warnings.simplefilter("ignore")
    # Only the parser's modules are instrumented: the coverage of the others is noise, and slow.
    with atheris.instrument_imports(include=list(TARGETS[name].modules), enable_loader_override=False):
        parse = make_target(name)
    documents = seeds_of(name, corpus_of(name))
    editors = [editor_of(document) for document in documents]
    for number, document in enumerate(documents):
        (folder / f"seed-{number}").write_bytes(document)
    recorder = Recorder(parse)

    def test_one(data: bytes) -> None:
        recorder(data)
        if recorder.outcome.inputs >= inputs:
            recorder.finish().write(outcome)
            sys.stderr.flush()
            atexit._run_exitfuncs()  # libFuzzer would print a report at a usual exit
            os._exit(0)
        if recorder.outcome.inputs % SAVED_EVERY == 0:
            recorder.finish().write(outcome)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        choice = rng.random()
        if choice < 0.4:
            return bytes(atheris.Mutate(data, most))[:most]
        with contextlib.suppress(RecursionError, MemoryError):
            editor = editor_of(data) if choice < 0.8 else rng.choice(editors)
            return editor(random_edits(rng))[:most]
        return data

    options = [f"-seed={seed}", f"-max_len={MAX_LENGTH}", "-rss_limit_mb=0", "-timeout=60", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(folder)], test_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
