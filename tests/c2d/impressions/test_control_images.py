"""Images of controls: deterministic, of the right statistics, with the targets where they are meant to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from c2d.impressions.images.control_images import class_colours, noise_image, procedural_image

NOTHING = np.zeros((0, 4)), np.zeros(0, np.int64)


def one(label: int, box: tuple[float, ...] = (0.25, 0.25, 0.75, 0.75)) -> tuple[Any, Any]:
    return np.array([box]), np.array([label])


def test_noise_has_the_statistics_of_imagenet_and_no_structure():
    image = noise_image((300, 200), seed=0, index=4)
    assert image.shape == (200, 300, 3)
    assert image.dtype == np.uint8
    values = image.reshape(-1, 3).astype(float)
    # Clipped at 0 and 255, where a normal value is cut off: a little nearer to the middle and narrower.
    assert values.mean(axis=0) == pytest.approx([123.7, 116.3, 103.5], abs=2)
    assert values.std(axis=0) == pytest.approx([58.4, 57.1, 57.4], abs=3)
    for a, b in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02 + 0.02  # the channels' means differ


def test_an_image_follows_from_seed_and_number():
    draws = {
        "noise": lambda seed, index: noise_image((64, 48), seed, index),
        "procedural": lambda seed, index: procedural_image((64, 48), *one(3), seed, index),
    }
    for draw in draws.values():
        assert np.array_equal(draw(0, 1), draw(0, 1))
        assert not np.array_equal(draw(0, 1), draw(0, 2))
        assert not np.array_equal(draw(0, 1), draw(1, 1))


def test_an_object_is_in_its_box_alone():
    """Outside the box the image is that without targets; inside it is not."""
    with_object = procedural_image((160, 120), *one(5), 0, 0).astype(int)
    without = procedural_image((160, 120), *NOTHING, 0, 0).astype(int)
    changed = (with_object != without).any(axis=2)
    inside = np.zeros_like(changed)
    inside[30:90, 40:120] = True
    assert not changed[~inside].any()
    assert changed[inside].mean() == pytest.approx(np.pi / 4, abs=0.06)


def test_a_class_has_its_colours_in_every_image():
    """The centre of an object is a mixture of its class's two colours, and those of other classes are elsewhere."""
    for label in (0, 7, 79):
        first, second = np.array(class_colours(label))
        for index in range(3):
            centre = procedural_image((160, 160), *one(label), 0, index)[60:100, 60:100].reshape(-1, 3).mean(axis=0)
            line = first - second
            share = float((centre - second) @ line / (line @ line))
            assert 0.1 < share < 1.1
            assert np.linalg.norm(centre - (second + share * line)) < 40
    colours = {tuple(np.round(np.concatenate(class_colours(label)))) for label in range(80)}
    assert len(colours) == 80


def test_a_box_at_the_border_is_drawn():
    thin = procedural_image((160, 160), *one(2, (0.98, 0.0, 1.0, 1.0)), 0, 0)
    plain = procedural_image((160, 160), *NOTHING, 0, 0)
    assert (thin != plain).any()
    assert np.array_equal(thin[:, :156], plain[:, :156])


def test_the_background_has_large_and_small_structure():
    """Half of the variation is between large blocks: noise of several octaves, not of single pixels."""
    image = procedural_image((160, 160), *NOTHING, 0, 0).astype(float)
    blocks = image.reshape(10, 16, 10, 16, 3).mean(axis=(1, 3))
    assert blocks.std(axis=(0, 1)).min() > 0.5 * image.std(axis=(0, 1)).min()
    assert image.std(axis=(0, 1)).min() > 10
