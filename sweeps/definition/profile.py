"""Profiles of machines: partition, GPUs, hours, set-up, environment. A profile changes no run's spec."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from c2d.core.errors import InputError, unknown_name
from c2d.core.json_values import SMALL_BYTES
from c2d.core.masking import mask_json
from c2d.core.printable import printable_line
from c2d.core.regular_file import file_state, is_file
from c2d.core.run_folder import atomic_write_json, read_json
from c2d.core.store_folder import RunStore, is_run_id
from c2d.core.yaml.strict import Strict
from c2d.core.yaml.yaml_lines import parse_mapping, read_mapping
from c2d.specs.spec import validation_message
from c2d.tracking.tracker_option import parse_trackers
from sweeps.definition.sbatch_flags import DEFAULT_MAX_HOURS, MEMORY_FLAGS, flag_name, hours_of_time, read_flags

Size = Literal["small", "large"]
LONGEST_NAME = 200
HINT = "see docs/sweeps.md for the keys of a profile"


class Hours(Strict):
    """Wall-clock limit of one job of a run in hours, by the `size` of its definition."""

    small: float = Field(default=4.0, gt=0)
    large: float = Field(default=24.0, gt=0)


class Profile(Strict):
    """One machine or partition. Everything has a default that suits a small cluster with one GPU a run."""

    name: str = ""
    about: str = ""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = Field(default=None, description="verbatim --gres; instead of gpus and gpu_type")
    gpus: int = Field(default=1, ge=0, description="per node; one process each")
    gpu_type: str | None = None
    nodes: int = Field(default=1, ge=1, description="per run")
    processes: int | None = Field(default=None, ge=1, description="per node, where it is not one a GPU (CPU clusters)")
    cpus: int = Field(default=8, ge=1, description="per process")
    mem_gb: float | None = Field(default=32.0, gt=0, description="per node; null: no --mem")
    max_mem_gb: float = Field(default=128.0, gt=0, description="what retry may raise mem_gb to")
    hours: Hours = Hours()
    max_hours: float = Field(default=DEFAULT_MAX_HOURS, gt=0, description="what retry may raise a limit to")
    array_cap: int = Field(default=64, ge=1, description="runs of one sweep that may run at once")
    signal_delay_s: int = Field(default=120, ge=10, description="seconds from USR2 to the time limit")
    workers: int = Field(default=4, ge=0, description="loader processes of each process")
    setup: list[str] = Field(default=[], description="shell lines before python: module load, conda activate")
    environment: dict[str, str] = Field(default={}, description="variables of a job")
    python: str | None = Field(default=None, description="python's path, or a container command that ends in python")
    stage_data: str | None = Field(
        default=None, description="node-local folder the data set is copied to, e.g. $TMPDIR"
    )
    tmp: str | None = Field(
        default=None, description="folder for temporary files of a job (default: TMPDIR, else /tmp)"
    )
    download: bool = Field(default=False, description="jobs may download pretrained weights")
    sbatch: dict[str, str | int | bool] = Field(default={}, description="more sbatch flags, e.g. {reservation: cvpr}")
    srun: list[str] = Field(default=[], description="more srun flags")
    notify: str | None = Field(default=None, description="shell command that runs once when a sweep has ended")
    track: list[str] = Field(default=[], description="trackers of every run, as --track of c2d train")
    mail: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._%+@-]+$", description="address of SLURM's mail when a sweep has ended"
    )

    @property
    def processes_per_node(self) -> int:
        """Processes on each node: `processes`, else one a GPU, at least one."""
        return self.processes or max(1, self.gpus)

    @property
    def world(self) -> int:
        """Processes of one run; the schedule's batch has to divide by it."""
        return self.nodes * self.processes_per_node

    @property
    def all_gpus(self) -> int:
        """GPUs of one run over all nodes: what GPU hours count."""
        return self.nodes * self.gpus

    def memory_text(self, raised_gb: float | None = None) -> str:
        """Return the memory of a run on each node in words.

        Args:
            raised_gb: what a retry raised it to.
        """
        if self.mem_gb is not None:
            return f"{raised_gb or self.mem_gb:g} GB"
        flags = {flag_name(key): value for key, value in self.sbatch.items()}
        given = [
            f"{flag.replace('_', '-')} {flags[flag]}" for flag in MEMORY_FLAGS if flags.get(flag, False) is not False
        ]
        return given[0] if given else "the cluster's default memory"

    def limit_min(self, size: Size, hours: float | None = None) -> int:
        """Return the wall-clock limit in whole minutes, at least one."""
        return max(1, round(60 * min(hours or getattr(self.hours, size), self.max_hours)))

    def signal_problem(self, size: Size, hours: float | None = None) -> str:
        """Return why USR2 would reach a job as it starts, and how to fix it; "" where the limit is long enough.

        Args:
            hours: what a retry raised the limit to.
        """
        limit_s = 60 * self.limit_min(size, hours)
        given = f"the limit of {limit_s} s (hours.{size})"
        flags = {flag_name(key): value for key, value in self.sbatch.items()}
        if flags.get("time_min"):
            least_s = round(3600 * hours_of_time(flags["time_min"]))
            limit_s, given = min((limit_s, given), (least_s, f"the {least_s} s of sbatch time-min"))
        if self.signal_delay_s < limit_s:
            return ""
        return (
            f"profile {self.name or 'default'}: signal_delay_s {self.signal_delay_s} is not shorter than {given}: "
            f"a job would have to stop as it starts; allowed is less than {limit_s}, or raise the limit"
        )


def profile_names() -> list[str]:
    """Return the names of the shipped profiles, sorted."""
    folder = resources.files("sweeps") / "profiles"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_profile(given: str | None) -> Profile:
    """Read a shipped profile by name, or a YAML file by path; without either C2D_PROFILE, else `default`.

    Raises:
        InputError: unknown name, or a key or value that is not allowed.
    """
    chosen = given or os.environ.get("C2D_PROFILE") or "default"
    if chosen in profile_names():
        where = f"profile {chosen}"
        text = (resources.files("sweeps") / "profiles" / f"{chosen}.yaml").read_text(encoding="utf-8")
        values = parse_mapping(text, where, HINT)
    elif is_file(Path(chosen)):
        where, values = chosen, read_mapping(Path(chosen), HINT)
    else:
        raise unknown_name("profile", chosen, profile_names(), "or give the path of a YAML file (docs/sweeps.md)")
    for key in values:
        if key not in Profile.model_fields:
            raise unknown_name(f"key of {where}:", str(key), Profile.model_fields)
    return _validated(read_flags({"name": Path(chosen).stem, **values}, where), where)


def tracked_by(profile: Profile, given: Iterable[str] | None) -> Profile:
    """Return the profile with the trackers of `--track` in the place of its own; None: unchanged.

    Raises:
        InputError: a tracker that is not allowed.
    """
    if given is None:
        return profile
    return profile.model_copy(update={"track": [str(option) for option in parse_trackers(given)]})


def _validated(values: Any, where: str) -> Profile:
    """Return the profile of values that may come from anybody.

    Raises:
        InputError: a value that is not allowed, or that is not one line.
    """
    for place, text in _texts(values):
        # A line break would be a line of the batch script; other characters that do not show are always a mistake.
        if not text.replace("\t", "").isprintable():
            raise InputError(
                f"{where}: {printable_line(place)}: {ascii(text)[:120]} has a line break or a character that does not "
                "show; write one line of visible characters (each line of `setup` is an item of its list)"
            )
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {validation_message(error)}") from None
    profile = tracked_by(profile, profile.track)  # a folder becomes absolute: a job starts in another one
    if not is_run_id(profile.name) or len(profile.name.encode()) > LONGEST_NAME:
        raise InputError(
            f"{where}: name: '{profile.name}' is no file name of at most {LONGEST_NAME} bytes; "
            "write letters, digits, - and _"
        )
    return profile


def _texts(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every text in a value of YAML, the keys included."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key, place)
            yield from _texts(item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _texts(item, f"{place}[{at}]")


def has_secret(profile: Profile) -> bool:
    """Return whether something in a profile looks like a secret; its script and its stored copy are private then."""
    value = profile.model_dump()
    return mask_json(value, {}) != value


def store_profile(runs: Path, sweep: str, profile: Profile) -> None:
    """Store the profile of a submission beside its manifest: a retry from another shell or folder needs it.

    Nothing in it is masked, so that the retry works: a profile with a secret can be read by its owner alone.
    """
    path = _stored_file(runs, sweep, profile.name)
    atomic_write_json(path, profile.model_dump(), private=has_secret(profile))


def stored_profile(runs: Path, sweep: str, name: str) -> Profile:
    """Read the profile that a sweep was last submitted with under that name; else the one `load_profile` finds.

    Raises:
        InputError: neither exists.
    """
    file = _stored_file(runs, sweep, name)
    return load_profile(name) if file_state(file) is None else _validated(read_json(file, SMALL_BYTES), str(file))


def _stored_file(runs: Path, sweep: str, name: str) -> Path:
    return RunStore(runs).sweeps / sweep / f"profile-{name}.json"
