"""Tasks to arrays: every task once, indices below the limit, and never more at once than the cap."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.run_folder import RunFolder
from sweeps.launchers.arrays import JobArray, job_arrays
from sweeps.launchers.launch_request import Task


def task(name: str, after: tuple[str, ...] = (), **more) -> Task:
    return Task(RunFolder(Path("/runs") / name), after, **more)


def names(made: list[JobArray]) -> list[list[str]]:
    return [[one.id for one in array.tasks] for array in made]


def counted() -> object:
    numbers = itertools.count(1)
    return lambda: str(next(numbers))


def test_25_cells_and_a_limit_of_10_are_three_arrays_below_the_cap() -> None:
    made = job_arrays([task(f"r{i}") for i in range(25)], "demo", 8, 10)
    assert [len(array.tasks) for array in made] == [9, 8, 8]
    assert sorted(array.throttle for array in made) == [2, 3, 3]
    assert all(array.afterany == () for array in made)


def test_teachers_come_first_and_students_take_over_their_places() -> None:
    tasks = [task("t1"), *(task(f"s{i}", ("t1",)) for i in range(30))]
    teacher, students = job_arrays(tasks, "demo", 16, 1001)
    assert (teacher.afterok, students.afterok) == ((), ("t1",))
    assert students.throttle == 16
    assert students.afterany == ()


def test_tasks_of_one_kind_share_an_array_in_any_order() -> None:
    tasks = [task("t1"), task("t2")]
    tasks += [task(f"s{i}", ("t1",) if i % 2 else ("t2",)) for i in range(6)]
    assert names(job_arrays(tasks, "demo", 64, 1001)) == [["t1", "t2"], ["s0", "s2", "s4"], ["s1", "s3", "s5"]]


def test_raised_resources_make_another_array() -> None:
    tasks = [task("a"), task("b", mem_gb=48.0), task("c", exclude=("n1",)), task("d", hours=8.0), task("e")]
    assert names(job_arrays(tasks, "demo", 64, 1001)) == [["a", "e"], ["b"], ["c"], ["d"]]


def test_a_canary_comes_before_the_rest_of_its_own_run() -> None:
    first = task("a", stop_after=20)
    made = job_arrays([first, task("a", (first.id,)), task("b", (first.id,))], "demo", 64, 1001)
    assert names(made) == [["a#canary"], ["a", "b"]]
    assert made[1].afterok == ("a#canary",)


def test_more_chunks_than_places_wait_for_each_other() -> None:
    made = job_arrays([task(f"r{i}") for i in range(6)], "demo", 2, 1, token=counted())  # type: ignore[arg-type]
    assert [array.afterany for array in made] == [
        (), (), ("r0-demo-1",), ("r1-demo-2",), ("r2-demo-3",), ("r3-demo-4",),
    ]  # fmt: skip
    assert {array.throttle for array in made} == {1}


def test_arrays_already_in_the_queue_count() -> None:
    [made] = job_arrays([task(f"r{i}") for i in range(100)], "demo", 64, 1001, active=[("7", 40)])
    assert (made.afterany, made.throttle) == ((), 24)
    [made] = job_arrays([task(f"r{i}") for i in range(100)], "demo", 64, 1001, active=[("7", 60), ("8", 3)])
    assert (made.afterany, made.throttle) == (("7",), 61)
    [made] = job_arrays([task("r")], "demo", 64, 1001, active=[("7", 63)])
    assert (made.afterany, made.throttle) == ((), 1)


def test_names_are_unique_and_fit_a_command_line() -> None:
    made = job_arrays([task(f"r{i}") for i in range(50)], "ICOD table 3,a", 4, 10)
    assert len({array.name for array in made}) == 5
    assert all(array.name.startswith("10methods-ICOD-table-3-a-") for array in made)
    assert all(len(array.name.rsplit("-", 1)[1]) == 8 for array in made)


@st.composite
def orders(draw: st.DrawFn) -> list[Task]:
    """Tasks of which each waits for up to two earlier ones."""
    tasks: list[Task] = []
    for number in range(draw(st.integers(1, 24))):
        earlier = st.sampled_from([one.id for one in tasks]) if tasks else st.nothing()
        after = draw(st.lists(earlier, max_size=2, unique=True)) if tasks else []
        # Parents of an earlier submission are no part of the order.
        after += draw(st.lists(st.sampled_from(["old1", "old2"]), max_size=1))
        tasks.append(task(f"r{number}", tuple(after), mem_gb=draw(st.sampled_from([None, 48.0]))))
    return tasks


ACTIVE = st.lists(st.integers(1, 12), max_size=3).map(lambda sizes: [(f"{90 + i}", n) for i, n in enumerate(sizes)])


@settings(deadline=None)  # a machine with other work
@given(orders(), st.integers(1, 12), st.integers(0, 6), ACTIVE)
def test_every_task_once_in_order_and_never_more_than_the_cap(
    tasks: list[Task], cap: int, max_size: int, active: list[tuple[str, int]]
) -> None:
    made = job_arrays(tasks, "demo", cap, max_size, active)
    assert sorted(one.id for array in made for one in array.tasks) == sorted(one.id for one in tasks)
    assert all(len(array.tasks) <= max(1, max_size) for array in made)
    position = {one.id: at for at, one in enumerate(tasks)}
    where = {one.id: at for at, array in enumerate(made) for one in array.tasks}
    for at, array in enumerate(made):
        places = [position[one.id] for one in array.tasks]
        assert places == sorted(places)
        assert {one.after for one in array.tasks} == {array.afterok}
        assert all(where[parent] < at for parent in array.afterok if parent in where)
        assert set(array.afterany) <= {other.name for other in made[:at]} | {job for job, _ in active}
        assert array.throttle >= 1
    assert most_at_once(made, active) <= max(cap, sum(throttle for _, throttle in active))


def most_at_once(made: list[JobArray], active: list[tuple[str, int]]) -> int:
    """Most tasks that may ever run at once: the heaviest set of arrays of which none has to be over for another.

    Found by brute force over sets, so for small orders only; written without looking at how lanes are made.
    """
    weight = dict(active) | {array.name: array.throttle for array in made}
    where = {one.id: array.name for array in made for one in array.tasks}
    members = {array.name: {one.id for one in array.tasks} for array in made}
    over: dict[str, set[str]] = {job: set() for job, _ in active}  # what has ended before it starts
    for array in made:
        ended = set(array.afterany)
        begun = {where[parent] for parent in array.afterok if parent in where}
        ended |= {name for name in begun if members[name] <= set(array.afterok)}
        over[array.name] = ended.union(*(over[name] for name in ended | begun))
    best = 0

    def grow(chosen: list[str], rest: list[str], total: int) -> None:
        nonlocal best
        best = max(best, total)
        if total + sum(weight[name] for name in rest) <= best:
            return
        for at, name in enumerate(rest):
            if not any(name in over[other] or other in over[name] for other in chosen):
                grow([*chosen, name], rest[at + 1 :], total + weight[name])

    grow([], list(weight), 0)
    return best
