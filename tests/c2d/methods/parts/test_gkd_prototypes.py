"""Prototypes: the pursuit by hand and in both forms, and the instances that it may choose from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.methods.parts import gkd_prototypes
from c2d.ops import matching_pursuit
from tests.reference import gkd_reference as reference


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("alpha", "wanted"), [(0.0, (0.8, 0.4)), (1.0, (0.6667, 0.5333)), (10.0, (0.60952, 0.59048)),
                                               (1e9, (0.6, 0.6))])  # fmt: skip
def test_alpha_ties_the_coefficients(alpha: float, wanted: tuple[float, float]) -> None:
    found = matching_pursuit.coefficients(torch.tensor([0.8]), torch.tensor([0.4]), alpha)
    assert [float(w) for w in found] == pytest.approx(wanted, abs=5e-5)


@pytest.mark.parametrize("alpha", [0.0, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_gain_form_picks_as_the_direct_form_does(alpha: float, seed: int) -> None:
    a, b = F.normalize(noise(14, 6, seed=seed), dim=1), F.normalize(noise(14, 9, seed=seed + 50), dim=1)
    picks, errors = reference.matching_pursuit(a, b, [0, 3, 4, 7, 9, 12], 5, alpha)
    assert matching_pursuit.joint_matching_pursuit(a, b, torch.tensor([0, 3, 4, 7, 9, 12]), 5, alpha).tolist() == picks
    assert errors == sorted(errors, reverse=True)
    both = reference.pursuit_weights(noise(3), noise(3, seed=1), alpha)
    for ours, theirs in zip(matching_pursuit.coefficients(noise(3), noise(3, seed=1), alpha), both, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_orthonormal_candidates_are_chosen_once_each() -> None:
    unit = torch.eye(5, dtype=torch.float64)
    assert sorted(matching_pursuit.joint_matching_pursuit(unit, unit, torch.arange(5), 5, 10.0).tolist()) == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_prototypes_equal_the_reference() -> None:
    student, teacher = 1 + 0.4 * noise(25, 6, seed=3), 1 + 0.4 * noise(25, 8, seed=4)
    picks = matching_pursuit.select_prototypes(student, teacher, 4, 10.0)
    assert picks.tolist() == reference.prototypes(student, teacher, count=4)[2]
    rho = matching_pursuit.density(F.normalize(student, dim=1))
    torch.testing.assert_close(rho, torch.tensor(reference.density(student), dtype=torch.float64))


def test_a_single_instance_is_its_own_prototype() -> None:
    assert matching_pursuit.select_prototypes(noise(1, 4), noise(1, 6), 3).tolist() == [0, 0, 0]


class Listed:
    """Labels and sides of a synthetic training set without images."""

    def labels(self) -> list[tuple[list[int], list[tuple[float, float]]]]:
        large = [([0, 0, 1], [(40.0, 40.0), (50.0, 20.0), (31.0, 31.0)]) for _ in range(6)]
        return [*large, ([2], [(5.0, 5.0)])]


def test_instances_are_chosen_by_class_image_and_size() -> None:
    chosen, again = (gkd_prototypes.select_instances(Listed(), 4, 3, 30.0, 1) for _ in range(2))  # type: ignore[arg-type]
    assert chosen[:2] == again[:2]
    assert torch.bincount(chosen.labels, minlength=4).tolist() == [3, 3, 1, 0]  # the small one for want of a larger
    assert 6 in chosen.images
    assert all(1 not in boxes for boxes in chosen.boxes)
    assert sum(map(len, chosen.boxes)) == len(chosen.labels)


def test_cells_run_from_corner_to_corner_and_stay_on_the_map() -> None:
    maps = noise(2, 3, 8, 8)
    boxes = torch.tensor([[3.0, 5.0, 9.0, 30.0], [-9.0, 2.0, 3.0, 3.0], [31.0, 31.0, 32.0, 40.0], [8.0, 8.0, 8.0, 8.0]])
    image = torch.tensor([0, 0, 1, 1])
    found = gkd_prototypes.box_means(maps, boxes, image, 4)
    for row, box, number in zip(found, boxes, image, strict=True):
        torch.testing.assert_close(row, reference.pool_rdm(maps[number], box, 4))
