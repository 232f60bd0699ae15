r"""Labels of specs: the spec's own, else those of the sweep, else the name; math is found again where it is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.report.report_spec import parse
from analysis.spec.labels import (
    label_of_axis,
    label_of_column,
    label_of_value,
    math_of,
    mathtext,
    short_axis_label,
    value_label,
    with_sweep_labels,
)
from c2d.core.errors import InputError

MANIFEST: dict[str, Any] = {
    "axes": {"method": ["baseline", "kd_cls"], "method.icod.lambda_kc": ["0.1"]},
    "cells": [],
    "labels": {"method": {"kd_cls": r"$KD_{cls}$", "gone": "x"}, "no_axis": {"a": "b"}, "method.icod.lambda_kc": 3},
    "labels_of_axes": {"method.icod.lambda_kc": r"$\lambda_{kc}$", "method": "$broken"},
}


def spec(**more: Any) -> Any:
    return parse({"kind": "curve", "x": "method.icod.lambda_kc", **more})


def test_a_spec_takes_the_labels_of_its_sweep_and_keeps_its_own() -> None:
    found = with_sweep_labels(spec(labels={"method": {"baseline": "plain"}}), MANIFEST)
    assert found.labels == {"method": {"kd_cls": "$KD_{cls}$", "baseline": "plain"}}
    assert found.labels_of_axes == {"method.icod.lambda_kc": r"$\lambda_{kc}$"}
    assert with_sweep_labels(found, MANIFEST) == found
    own = with_sweep_labels(spec(labels={"method": {"kd_cls": "mine"}}), MANIFEST)
    assert label_of_value(own, "method", "kd_cls") == "mine"


def test_a_label_is_shown_in_unicode_and_a_name_without_one_as_it_is() -> None:
    found = with_sweep_labels(spec(labels_of_columns={"AP": r"$\mathrm{mAP}$"}), MANIFEST)
    assert label_of_axis(found, "method.icod.lambda_kc") == "λ_kc"
    assert label_of_axis(found, "method") == "method"
    assert label_of_value(found, "method", "baseline") == "baseline"
    assert (label_of_column(found, "AP"), label_of_column(found, "AP50")) == ("mAP", "AP50")


def test_a_title_has_the_label_of_the_sweep_or_the_end_of_the_name() -> None:
    assert short_axis_label(MANIFEST, "method.icod.lambda_kc") == "λ_kc"
    assert short_axis_label(MANIFEST, "method.icod.T") == "T"
    assert short_axis_label({}, "student") == "student"
    assert value_label(MANIFEST, "method", "kd_cls") == "KD_cls"
    assert value_label(MANIFEST, "method", "baseline") == "baseline"
    assert value_label({}, "student", "ssd300") == "ssd300"


def test_figures_find_the_math_of_a_text() -> None:
    math = math_of(with_sweep_labels(spec(), MANIFEST))
    assert mathtext("λ_kc=0.1, KD_cls", math) == r"$\lambda_{kc}$=0.1, $KD_{cls}$"
    assert mathtext("KD_cls, costs $5", math) == r"$KD_{cls}$, costs \$5"
    assert mathtext("baseline $5", math) is None


def test_a_label_of_an_unknown_axis_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown axis in `labels_of_axes` 'metod'; did you mean 'method'"):
        with_sweep_labels(spec(labels_of_axes={"metod": "x"}), MANIFEST)
    assert with_sweep_labels(spec(labels_of_axes={"student": "x"}), {}).labels_of_axes == {"student": "x"}
