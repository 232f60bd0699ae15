"""The ledger of a table: which facts differ between its rows, and whether rows that are compared share a protocol.

Rows are compared with their baseline; where there is none, rows of one student with each other. They must have been
trained under one protocol: data, start, input, schedule, overrides, student and the engine that scored them. A fact
that an axis of the rows sets may differ between rows with different labels on that axis; a footnote lists what else a
label changed. Software, machines and versions of a distiller are not part of the protocol: a footnote lists where they
differ from those of the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.loading.schema import Study
from analysis.tables import image_sources, protocol_facts
from analysis.tables.groups import Group, names_of
from analysis.tables.protocol_facts import Facts
from analysis.tables.table import Ledger
from c2d.core.errors import InputError
from c2d.core.yaml.yaml_lines import YamlDocument

_SETS = {
    "dataset digest": ("dataset",),
    "evaluation split": ("dataset",),
    "student digest": ("student",),
    "init sha256": ("init",),
    "backbone": ("init", "student", "teacher.backbone"),
    image_sources.FACT: ("data_free", "teacher.impressions", "teacher.detector", "dataset"),
}
"""{fact: the keys of a sweep that decide it}, where their names differ."""
_CELL_KEYS = (
    "dataset",
    "student",
    "network",
    "schedule",
    "input",
    "init",
    "text_embeddings",
    "data_free",
    "method",
    "overrides",
)
"""Keys of a sweep without a dot: axes of these names set the key itself, whatever their values are."""
_MOST_SENTENCES = 4


@dataclass(frozen=True)
class ProtocolCheck:
    """The result of the check.

    Attributes:
        ledger: the ledger.
        notes: {row key: sentences}, footnotes of the row.
        families: {row key: its family}. Rows of one family have one baseline (without one: one student), one data set
            and the same need of real images and labels; only they are compared for bold. A row without finished runs
            has ().
    """

    ledger: Ledger
    notes: dict[str, list[str]]
    families: dict[str, tuple[str, ...]]


def check_protocols(
    study: Study,
    sweep: str,
    groups: Sequence[Group],
    baselines: Sequence[Group | None],
    allow_mixed: bool,
    pairs: Sequence[tuple[Group, Group]] = (),
) -> ProtocolCheck:
    """Compare the protocols of the rows of a table.

    Args:
        groups: one a row.
        baselines: the row each is compared with; itself where it is one.
        allow_mixed: rows under different protocols get a footnote instead of an error.
        pairs: more rows that are compared, those of a gap.

    Raises:
        InputError: rows that are compared were trained under different protocols.
    """
    facts = {group.key: protocol_facts.group_facts(group) for group in groups}
    axes = keys_of_axes(study, sweep, list(groups[0].labels) if groups else [])
    families = {
        group.key: _family(baseline, facts[group.key]) for group, baseline in zip(groups, baselines, strict=True)
    }
    names = names_of(groups)
    notes: dict[str, list[str]] = {group.key: list(inner_differences(facts[group.key])) for group in groups}
    by_key = {key: list(of_row) for key, of_row in notes.items()}
    for group, other in dict.fromkeys([*_compared(groups, baselines, facts, families), *pairs]):
        notes[group.key] += _protocol(group, other, facts, axes, names[other.key])
        by_key[group.key] += _protocol(group, other, facts, axes, other.key)
    mixed = {key: list(dict.fromkeys(of_row)) for key, of_row in notes.items() if of_row}
    if mixed and not allow_mixed:  # with the labels that `where` takes
        sentences = [f"{key}: {sentence}" for key, of_row in by_key.items() for sentence in dict.fromkeys(of_row)]
        more = f"; and {len(sentences) - _MOST_SENTENCES} more" if len(sentences) > _MOST_SENTENCES else ""
        raise InputError(
            f"rows under different protocols cannot share a table: {'; '.join(sentences[:_MOST_SENTENCES])}{more}; "
            "leave them out (`rows`, `where`), or pass --allow-mixed, which adds footnotes"
        )
    for group, baseline in zip(groups, baselines, strict=True):
        if baseline:
            notes[group.key] += _labelled(group, baseline, facts, axes)
        notes[group.key] += environment_sentences(facts[group.key], facts[baseline.key] if baseline else {})
    for key, sentence in _versions(facts, families):
        notes[key].append(sentence)
    same, differs = compare_facts(facts)
    sentences = [f"{names[key]}: {sentence}" for key, of_row in mixed.items() for sentence in of_row]
    on_data = {
        group.key: (*families[group.key], *facts[group.key].get("dataset digest", ()), *image_sources.needs_of(group))
        for group in groups
    }
    return ProtocolCheck(Ledger(same, differs, tuple(sentences)), notes, on_data)


def compare_facts(facts: Mapping[str, Facts]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return (facts that all rows share, {fact: {row: value}} of the others); rows without finished runs have ""."""
    same: dict[str, str] = {}
    differs: dict[str, dict[str, str]] = {}
    rows = {key: found for key, found in facts.items() if found}
    for name in dict.fromkeys(name for found in rows.values() for name in found if name != "method"):
        values = {protocol_facts.facts_text(found.get(name, ())) for found in rows.values()}
        if values in ({"none"}, {image_sources.LABELLED}):
            continue
        if len(values) == 1:
            same[name] = values.pop()
        else:
            differs[name] = {
                key: protocol_facts.facts_text(found.get(name, ())) if found else "" for key, found in facts.items()
            }
    return same, differs


def _family(baseline: Group | None, found: Facts) -> tuple[str, ...]:
    """What rows that are compared share: their baseline; where there is none, their student."""
    if not found:
        return ()
    return ("baseline", baseline.key) if baseline else ("student", *found["student"])


def _compared(
    groups: Sequence[Group],
    baselines: Sequence[Group | None],
    facts: Mapping[str, Facts],
    families: Mapping[str, tuple[str, ...]],
) -> Iterator[tuple[Group, Group]]:
    """(row, the row whose protocol it must share): the baseline, or the first row that has been trained."""
    first: dict[tuple[str, ...], Group] = {}
    for group, baseline in zip(groups, baselines, strict=True):
        if not facts[group.key]:
            continue
        if baseline is not None and facts.get(baseline.key):
            other = baseline
        else:
            other = first.setdefault(families[group.key], group)
        if other is not group:
            yield group, other


def inner_differences(found: Facts) -> Iterator[str]:
    """Yield sentences on facts that the seeds of one row must share and do not."""
    for name, values in found.items():
        if len(values) > 1 and protocol_facts.is_protocol(name):
            yield f"its seeds differ in {name}: {protocol_facts.facts_text(values)}"
    if len(found.get("method", ())) > 1:
        yield "its seeds differ in the parameters or the version of their method"


def _protocol(
    group: Group, other: Group, facts: Mapping[str, Facts], axes: Mapping[str, Sequence[str]], name_of_other: str
) -> Iterator[str]:
    """Facts in which a row's protocol differs from another's though no axis of the rows sets them."""
    for name, mine, theirs, axis in _unequal(group, other, facts, axes):
        if not axis:
            yield f"{name} is {mine}, but {theirs} in {name_of_other}, which it is compared with"


def _labelled(
    group: Group, baseline: Group, facts: Mapping[str, Facts], axes: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Facts in which a row's protocol differs from its baseline's because of its label, but for the axis's own fact."""
    differences: dict[str, list[str]] = {}
    for name, mine, theirs, axis in _unequal(group, baseline, facts, axes):
        # Every row has a footnote on its images anyway.
        if axis and axis not in _SETS.get(name, (name,)) and name != image_sources.FACT:
            differences.setdefault(axis, []).append(f"{name} is {mine}, but {theirs} in its baseline")
    for axis, found in differences.items():
        more = f" and {len(found) - _MOST_SENTENCES} more" if len(found) > _MOST_SENTENCES else ""
        yield f"{axis} also sets the protocol: {'; '.join(found[:_MOST_SENTENCES])}{more}"


def _unequal(
    group: Group, other: Group, facts: Mapping[str, Facts], axes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, str, str]]:
    """(fact of the protocol, a row's value, another's, the axis that sets it or "") where two trained rows differ."""
    apart = {axis: keys for axis, keys in axes.items() if not group.values(axis) & other.values(axis)}
    return unequal_facts(facts[group.key], facts[other.key], apart)


def unequal_facts(
    mine: Facts, theirs: Facts, apart: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield (fact of the protocol, one row's value, another's, the axis that sets it or "") where trained rows differ.

    Args:
        mine, theirs: facts of the two rows.
        apart: {axis on which their labels differ: the keys of a sweep that it sets}.
    """
    for name in dict.fromkeys([*mine, *theirs]) if mine and theirs else ():
        here, there = mine.get(name, ("",)), theirs.get(name, ("",))
        if protocol_facts.is_protocol(name) and set(here) != set(there):
            by = next((axis for axis, keys in apart.items() if any(_decides(key, name) for key in keys)), "")
            yield name, protocol_facts.facts_text(here), protocol_facts.facts_text(there), by


def _decides(key: str, fact: str) -> bool:
    """Whether a key of a sweep sets a fact: `schedule` sets all of `schedule.*`, every key of a teacher its images."""
    names = _SETS.get(fact, (fact,))
    return any(name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in names)


def environment_sentences(mine: Facts, baseline: Facts, whose: str = "its baseline") -> Iterator[str]:
    """Yield sentences on software and machines: within a row, and against another.

    Args:
        baseline: facts of the other row; {} for none.
        whose: what the other row is called.
    """
    if not mine:
        return
    for name in protocol_facts.ENVIRONMENT:
        if len(mine[name]) > 1:
            yield f"seeds ran with {name} {protocol_facts.facts_text(tuple(sorted(mine[name])))}"
    other = [name for name in protocol_facts.ENVIRONMENT if baseline and set(mine[name]) != set(baseline[name])]
    if other:
        here = ", ".join(f"{name} {protocol_facts.facts_text(mine[name])}" for name in other)
        there = ", ".join(f"{name} {protocol_facts.facts_text(baseline[name])}" for name in other)
        yield f"ran with {here}; {whose} with {there}"


def _versions(facts: Mapping[str, Facts], families: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """(row, sentence) where a row used another version of a distiller than the first row of its family that has it."""
    first: dict[tuple[tuple[str, ...], str], tuple[tuple[str, ...], str]] = {}
    for key, found in facts.items():
        for name, own in protocol_facts.versions(found).items():
            other, row = first.setdefault((families[key], name), (own, key))
            if set(own) != set(other):
                yield (
                    key,
                    f"{name} of version {protocol_facts.facts_text(own)}, "
                    f"but {protocol_facts.facts_text(other)} in {row}",
                )


def keys_of_axes(study: Study, sweep: str, axes: Sequence[str]) -> dict[str, list[str]]:
    """Return {axis: the keys of a sweep that it sets}; a bundle sets what its labels name in the definition."""
    definition = _definition(study.sweeps.get(sweep, {}))
    return {axis: _keys(axis, definition.get(axis)) for axis in axes}


def _keys(axis: str, values: Any) -> list[str]:
    """Only a bundle has a name that is no key of its own: a schedule may be a mapping too."""
    is_key = axis in _CELL_KEYS or "." in axis
    if not is_key and isinstance(values, dict) and values and all(isinstance(value, dict) for value in values.values()):
        return sorted({str(key) for value in values.values() for key in value})
    return [axis]


def _definition(record: Mapping[str, Any]) -> dict[str, Any]:
    """The axes as the sweep's author wrote them; nothing where the record does not hold them."""
    document = YamlDocument(record.get("definition", ""), "definition", scalars_as_text=True)
    read = {} if document.errors.found else document.value
    axes = read.get("axes") if isinstance(read, dict) else None
    return axes if isinstance(axes, dict) else {}
