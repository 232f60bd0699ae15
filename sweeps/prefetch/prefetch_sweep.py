"""Get everything that the jobs of a sweep read, on a machine with a network, so that the jobs need none."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from dataclasses import replace

from c2d.core.download.remote_file import PrintLine, size_text
from c2d.core.errors import InputError
from c2d.core.sweep_manifest import PlannedRun
from c2d.data.fetch.public_archives import PUBLIC_ARCHIVES, PublicArchives
from c2d.specs.names import names_in
from sweeps.actions.row_filters import filter_grid, matches, parse_filters
from sweeps.actions.submit import resolve, specs_of
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import CellValues, Definition
from sweeps.definition.profile import Profile
from sweeps.prefetch.dataset_items import dataset_item, fetched_item, missing_public, planned_item
from sweeps.prefetch.needs import DatasetName, Item, needs_of
from sweeps.prefetch.weight_items import kept_item, weight_item

CACHE_VARIABLES = ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
"""Variables that name the folders of weights."""


def prefetch_sweep(
    definition: Definition,
    workspace: Workspace,
    download: bool,
    print_line: PrintLine,
    table: dict[str, PublicArchives] = PUBLIC_ARCHIVES,
    filters: Sequence[str] = (),
) -> list[Item]:
    """Return a row for each thing that the runs of a sweep need, after the missing ones were downloaded.

    Args:
        definition: of the sweep.
        workspace: store, data root, and the machine of the jobs.
        download: False to list only.
        print_line: called with lines about progress.
        table: {name: archives} of public data sets.
        filters: `axis=label` texts, see `row_filters`: only what these cells and their teachers need.

    Raises:
        InputError: the definition or a filter is wrong, or a data set is not here and cannot be downloaded.
    """
    cells = chosen_cells(definition, filters)
    names = names_in(cell.values for cell in cells).datasets
    get = fetched_item if download else planned_item
    public = {
        name: get(name, workspace.data, print_line, table) for name in missing_public(names, workspace.data, table)
    }
    missing = [item for item in public.values() if item.state == "missing"]
    try:
        grid = resolve(definition, workspace)
    except InputError:
        if not missing:
            raise
        print_line("the weights are listed when the data sets are here: their digests are part of the runs")
        return missing
    needs = needs_of(specs_of(filter_grid(grid, filters)).values())
    use_caches(workspace.profile, os.environ, print_line)
    return [
        *(_dataset_item(dataset, public.get(dataset.name), workspace) for dataset in needs.datasets),
        *(weight_item(source, download, print_line) for source in needs.weights),
        *(kept_item(source, workspace.runs) for source in needs.kept),
    ]


def chosen_cells(definition: Definition, filters: Sequence[str]) -> list[CellValues]:
    """Return the cells of which a seed matches `axis=label` texts; all cells without a text.

    Raises:
        InputError: an axis or a label that no cell has.
    """
    cells, seeds = definition.cells(), definition.seeds
    rows = [PlannedRun("", "student", tuple({**cell.labels, "seed": str(seed)} for seed in seeds)) for cell in cells]
    wanted = parse_filters(rows, filters)
    return [cell for cell, row in zip(cells, rows, strict=True) if matches(row, wanted)]


def _dataset_item(dataset: DatasetName, public: Item | None, workspace: Workspace) -> Item:
    """Return the row of a data set; `public` is what was done for it, None where it had a card."""
    if public is not None and public.state == "missing":
        return public
    found = dataset_item(dataset, workspace.data, workspace.runs)
    return replace(found, state="downloaded") if public is not None and found.state == "here" else found


def use_caches(profile: Profile, environment: MutableMapping[str, str], print_line: PrintLine) -> None:
    """Set the variables that name the caches of the jobs, so that weights go where the jobs look for them.

    Args:
        profile: of the jobs.
        environment: it is changed.
        print_line: called with a warning where a variable has its value on the node only.
    """
    for name in CACHE_VARIABLES:
        value = os.path.expandvars(profile.environment.get(name, ""))
        if "$" in value:
            print_line(
                f"warning: {name} of profile {profile.name or 'default'} is {value}, which has a value on the nodes "
                f"only; weights go to the cache of this shell; set the variables in it to move them"
            )
        elif value:
            environment[name] = value


def summary(items: list[Item], profile: Profile) -> list[str]:
    """Return the last lines: how much is here, and what the jobs of a profile do with it.

    Args:
        items: of `prefetch_sweep`.
        profile: of the jobs.
    """
    here = [item for item in items if item.state != "missing"]
    size = size_text(sum(item.size or 0 for item in here))
    lines = [f"{len(here)} of {len(items)} are here and verified ({size})"]
    if len(here) < len(items):
        to_get = sum(item.size or 0 for item in items if item.state == "missing")
        known = f", {size_text(to_get)} of known size" if to_get else ""
        lines.append(f"{len(items) - len(here)} are missing{known}; the last column of their rows says how to get them")
    else:
        lines.append("the jobs need no network")
    sets = sum(item.size or 0 for item in here if item.kind == "data set")
    if profile.stage_data and sets:
        lines.append(
            f"jobs of profile {profile.name} copy their data set to {profile.stage_data} first ({size_text(sets)})"
        )
    return lines
