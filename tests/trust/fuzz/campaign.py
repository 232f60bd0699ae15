"""Give inputs to one target, and count: distinct failures, the slowest input, memory."""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from c2d.core.errors import InputError, RunError
from c2d.core.printable import printable_text
from tests.trust.fuzz.edits import EDITS, editor_of

ROOT = Path(__file__).parents[3]
CORPUS = Path(__file__).parent / "corpus"
LIMIT_S = 5.0
LIMIT_MIB = 1024
MAX_LINE = 5000
"""Characters of one line of a message; it can have a list of names."""
HYPOTHESIS_SHARE = 20
"""One of so many inputs is made by hypothesis; the others by atheris."""


class TooSlow(BaseException):
    """An input took more than LIMIT_S. Not an Exception: a parser must not catch it."""


@dataclass
class Outcome:
    """What a number of inputs did to a target.

    Attributes:
        inputs: number of inputs.
        failures: {exception and place: the first input that raised it, as hex}.
        slowest_s: of one input.
        peak_mib: memory of the process above that before the first input.
        seconds: of all inputs.
    """

    inputs: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    slowest_s: float = 0.0
    peak_mib: float = 0.0
    seconds: float = 0.0
    slowest: str = ""

    def add(self, other: Outcome) -> None:
        """Add the inputs of another run of the same target."""
        self.inputs += other.inputs
        self.failures = {**other.failures, **self.failures}
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.peak_mib = max(self.peak_mib, other.peak_mib)
        self.seconds += other.seconds

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)))


def read_outcome(path: Path) -> Outcome:
    """Read what `Outcome.write` wrote."""
    return Outcome(**json.loads(path.read_text()))


class Recorder:
    """Call a target with inputs and record what it does."""

    def __init__(self, parse: Callable[[bytes], object]) -> None:
        self.parse, self.outcome = parse, Outcome()
        self.begun, self.before_mib = time.perf_counter(), _memory_mib()
        signal.signal(signal.SIGALRM, _too_slow)

    def __call__(self, data: bytes) -> None:
        """Give one input to the target; its failures are recorded, not raised."""
        outcome = self.outcome
        outcome.inputs += 1
        begun = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            self.parse(data)
        except (InputError, RunError) as error:
            _check_message(str(error), outcome, data)
        except (Exception, TooSlow) as error:
            outcome.failures.setdefault(_place(error), data.hex())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if (seconds := time.perf_counter() - begun) > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest = seconds, data[:2000].hex()

    def finish(self) -> Outcome:
        """Return the outcome with time and memory."""
        self.outcome.seconds = time.perf_counter() - self.begun
        self.outcome.peak_mib = max(0.0, _memory_mib() - self.before_mib)
        if self.outcome.peak_mib > LIMIT_MIB:
            self.outcome.failures.setdefault(f"memory: {self.outcome.peak_mib:.0f} MiB", "")
        return self.outcome


def corpus_of(target: str) -> list[bytes]:
    """Return the inputs of a target that are kept in the repository, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


def run_hypothesis(parse: Callable[[bytes], object], seeds: Iterable[bytes], inputs: int, seed: int) -> Outcome:
    """Give changed documents to a target, chosen by hypothesis.

    Args:
        parse: the target.
        seeds: documents to change.
        inputs: their number.
        seed: of the choice.
    """
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    editors = [editor_of(document) for document in seeds]
    recorder = Recorder(parse)
    quiet = settings(
        max_examples=inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate], report_multiple_bugs=False,
    )  # fmt: skip

    @seeded(seed)
    @quiet
    @given(st.sampled_from(editors), EDITS)
    def run(editor: Callable[[Any], bytes], edits: Any) -> None:
        recorder(editor(edits))

    run()
    return recorder.finish()


def run_random(parse: Callable[[bytes], object], seeds: Iterable[bytes], inputs: int, seed: int) -> Outcome:
    """Give changed documents to a target, chosen at random: where atheris is not installed."""
    from tests.trust.fuzz.edits import random_edits

    editors, rng = [editor_of(document) for document in seeds], random.Random(seed)
    recorder = Recorder(parse)
    for _ in range(inputs):
        recorder(rng.choice(editors)(random_edits(rng)))
    return recorder.finish()


def _check_message(text: str, outcome: Outcome, data: bytes) -> None:
    """A message has text, can be printed, and is no page; of a file with several mistakes it has a line for each."""
    printable_text(text).encode()
    if not text.strip():
        outcome.failures.setdefault("a message without text", data.hex())
    if any(len(line) > MAX_LINE for line in text.split("\n")):
        outcome.failures.setdefault(f"a line of {MAX_LINE} characters", data.hex())


def _place(error: BaseException) -> str:
    """Return the exception and the innermost line of this repository."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    own = [frame for frame in frames if "/tests/" not in frame.filename] or frames
    where = f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} in {where}"


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"more than {LIMIT_S} s")


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
