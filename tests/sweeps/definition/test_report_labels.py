"""Labels of a definition: read, recorded in the manifest, refused where a report could not show them."""

from __future__ import annotations

import pytest

from c2d.core.errors import InputError
from sweeps.definition.definition import parse_definition

TEXT = """
question: How much?
base: {dataset: scenes, student: tiny, schedule: smoke}
axes:
  method: {baseline: [], kd_cls: [{icod: {}}]}
  method.icod.T: [1, 2]
teachers: {classifier: {network: resnet18, schedule: demo-classifier}}
"""


def test_labels_are_those_of_the_file() -> None:
    found = parse_definition(
        TEXT + "labels:\n  method: {kd_cls: '$KD_{cls}$'}\n  method.icod.T: {'1': 1}\n"
        "labels_of_axes:\n  method.icod.T: $T$\n",
        "x.yaml",
        "x",
    )
    assert found.labels == {"method": {"kd_cls": "$KD_{cls}$"}, "method.icod.T": {"1": "1"}}
    assert found.labels_of_axes == {"method.icod.T": "$T$"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("labels: {methd: {kd_cls: KD}}", "labels.methd: unknown axis 'methd'; did you mean 'method'?"),
        ("labels: {method: {kd: KD}}", "unknown value of axis method 'kd'; did you mean 'kd_cls'?"),
        ("labels: {method: {kd_cls: $KD}}", "has an unclosed $"),
        ("labels: {method: {kd_cls: [KD]}}", "wanted a label, given [KD]"),
        ("labels: {method: {kd_cls: ''}}", "wanted a label, given nothing"),
        ("labels: [KD]", "labels: wanted {axis: {value: label}}"),
        ("labels_of_axes: {method.icod.t: T}", "did you mean 'method.icod.T'?"),
        ("labels_of_axes: T", "labels_of_axes: wanted {axis: label}, given T"),
    ],
)
def test_a_mistake_is_a_line_with_its_place(labels: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_definition(TEXT + labels, "x.yaml", "x")
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert "x.yaml:8" in str(caught.value)
