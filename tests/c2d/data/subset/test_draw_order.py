"""The order of a draw: by hand, nested, complete, and equal to a plain shuffle where that loses no class."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.data.subset.draw_order import draw_order

CLASSES = st.lists(st.frozensets(st.integers(0, 5), max_size=3), min_size=1, max_size=30)


def _shuffle(number: int, seed: int) -> list[int]:
    return sorted(range(number), key=lambda at: hashlib.sha256(f"{seed}:{at}".encode()).digest())


def _names(classes: list[frozenset[int]]) -> list[str]:
    return [str(at) for at in range(len(classes))]


def test_a_rare_class_is_moved_to_the_front() -> None:
    """The shuffle of seed 0 begins as below; its last image alone has class 9."""
    shuffle = _shuffle(6, 0)
    classes = [frozenset({1}) for _ in range(6)]
    classes[shuffle[-1]] = frozenset({9})
    found = draw_order(_names(classes), classes, 0)
    # Of one class each: the earlier of the shuffle first.
    assert found.places == (shuffle[0], shuffle[-1], *shuffle[1:-1])
    assert found.front == 2
    classes[shuffle[-1]] = frozenset({1, 9})  # holds both classes, so nothing else has to be moved
    assert draw_order(_names(classes), classes, 0).places == (shuffle[-1], *shuffle[:-1])


def test_where_no_image_has_a_class_it_is_the_shuffle() -> None:
    found = draw_order(["0", "1", "2"], [frozenset()] * 3, 7)
    assert (list(found.places), found.front) == (_shuffle(3, 7), 0)


@given(CLASSES, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_every_class_is_at_the_front_and_no_image_is_lost(classes: list[frozenset[int]], seed: int) -> None:
    found = draw_order(_names(classes), classes, seed)
    assert sorted(found.places) == list(range(len(classes)))
    every = frozenset().union(*classes)
    assert frozenset().union(*(classes[at] for at in found.places[: found.front])) == every
    assert found.front <= len(every)
    if found.front:
        assert frozenset().union(*(classes[at] for at in found.places[: found.front - 1])) != every
    # The rest keeps the order of the shuffle.
    rest = found.places[found.front :]
    assert list(rest) == [at for at in _shuffle(len(classes), seed) if at in rest]


@given(CLASSES, st.integers(0, 3), st.data())
@settings(max_examples=50, deadline=None)
def test_a_draw_does_not_depend_on_the_order_of_the_file(
    classes: list[frozenset[int]], seed: int, data: st.DataObject
) -> None:
    names = _names(classes)
    order = data.draw(st.permutations(range(len(classes))))
    plain = [names[at] for at in draw_order(names, classes, seed).places]
    moved = draw_order([names[at] for at in order], [classes[at] for at in order], seed)
    assert [names[order[at]] for at in moved.places] == plain


def test_a_random_draw_is_not_changed_where_it_has_every_class() -> None:
    """Every second image has both classes: any two neighbours of the shuffle are likely to have one."""
    classes = [frozenset({1, 2}) if at % 2 else frozenset({1}) for at in range(100)]
    found = draw_order(_names(classes), classes, 5)
    assert set(found.places[:10]) == set(_shuffle(100, 5)[:10])


def test_another_seed_draws_other_images() -> None:
    classes = [frozenset({1})] * 50
    draws = [frozenset(draw_order(_names(classes), classes, seed).places[:5]) for seed in range(4)]
    assert len(set(draws)) == 4
