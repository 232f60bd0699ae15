"""What the runs of a grid need beside the code: data sets, first weights, files that the store keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from c2d.core.download.remote_file import size_text
from c2d.specs.first_weights import BACKBONE, KEPT, NONE, network_source
from c2d.specs.spec import RunSpec

State = Literal["here", "downloaded", "missing"]


@dataclass(frozen=True)
class Item:
    """One thing that runs need.

    Attributes:
        kind: data set, weights or file.
        name: as specs have it.
        state: of it now.
        size: bytes of what is here, or would be downloaded; None where that is not known.
        note: its place; for a missing one what is wrong, and how to get it.
    """

    kind: str
    name: str
    state: State
    size: int | None
    note: str

    @property
    def line(self) -> str:
        """The row as it is printed."""
        size = size_text(self.size) if self.size is not None else "-"
        return f"{self.state:10}  {self.kind:8}  {self.name}  {size}  {self.note}"


class DatasetName(NamedTuple):
    """A data set in specs: its name and digest."""

    name: str
    digest: str


@dataclass(frozen=True)
class Needs:
    """What runs need, each once.

    Attributes:
        datasets: in the order of the runs.
        weights: sources of an `init`, sorted.
        kept: `sha256:HEX` of files of the store, sorted.
    """

    datasets: list[DatasetName]
    weights: list[str]
    kept: list[str]


def needs_of(specs: Iterable[RunSpec]) -> Needs:
    """Return what runs need.

    Args:
        specs: of all runs, teachers included.
    """
    runs = list(specs)
    # A whole detector of one's own, `detector:sha256:HEX`, is a kept file as well.
    sources = {network_source(spec.init).removeprefix("detector:") for spec in runs} - {NONE, BACKBONE}
    kept = {source for source in sources if source.startswith(KEPT)}
    return Needs(
        list(dict.fromkeys(DatasetName(spec.dataset.name, spec.dataset.digest) for spec in runs)),
        sorted(sources - kept),
        sorted(kept | {spec.text_embeddings for spec in runs if spec.text_embeddings}),
    )
