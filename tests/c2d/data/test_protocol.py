"""The key `protocol` of annotations: what is malformed is an issue with its entry, before a run reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.data.card import Protocol
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.coco.register_card import register_card
from c2d.data.make_card import make_card
from c2d.data.protocol_checks import protocol_errors, protocol_of
from tests.c2d.data.conftest import Writer

CAR = {"type": "Car", "truncated": 0.25, "occluded": 1}
ROWS: dict[Protocol, list[dict[str, Any]]] = {
    "voc": [{"difficult": 0}, {"difficult": 1}, {"difficult": 1}],
    "kitti": [CAR, {"type": "Van", "truncated": 1, "occluded": 3}, {"type": "DontCare"}],
}


def with_protocol(coco: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """The COCO dict with one value for each annotation; None leaves the key out. The third is a crowd region."""
    for row, value in zip(coco["annotations"], values, strict=True):
        row |= {} if value is None else {"protocol": value}
    return coco


@pytest.mark.parametrize("protocol", ["voc", "kitti"])
def test_right_values(coco: dict[str, Any], write: Writer, protocol: Protocol) -> None:
    path, _ = write(with_protocol(coco, ROWS[protocol]))
    report = check_coco([(path, None)])
    assert not report.errors
    assert report.counts[str(path)]["protocol"] == protocol
    other: Protocol = "kitti" if protocol == "voc" else "voc"
    assert len(list(protocol_errors(coco, other))) == 3


@pytest.mark.parametrize(
    ("protocol", "value"),
    [
        ("voc", {"difficult": True}),
        ("voc", {"difficult": 2}),
        ("voc", {"difficult": "1"}),
        ("voc", {"difficult": 0, "truncated": 1}),
        ("voc", 1),
        ("voc", None),
        ("kitti", "Car"),
        ("kitti", {"type": "Car"}),
        ("kitti", {"type": 3, "truncated": 0, "occluded": 0}),
        ("kitti", CAR | {"truncated": 1.5}),
        ("kitti", CAR | {"truncated": float("nan")}),
        ("kitti", CAR | {"occluded": 4}),
        ("kitti", CAR | {"occluded": 0.5}),
        ("kitti", {"type": "DontCare"}),
        ("kitti", ["DontCare"]),
    ],
)
def test_malformed_values(coco: dict[str, Any], write: Writer, protocol: Protocol, value: Any) -> None:
    path, _ = write(with_protocol(coco, [ROWS[protocol][0], value, ROWS[protocol][2]]))
    issues = [issue for issue in check_coco([(path, None)]).errors if issue.kind == "protocol"]
    assert [issue.where for issue in issues] == ["annotation 2 (image 1)"]
    assert "wanted {" in issues[0].message


def test_a_file_without_the_key_has_no_protocol(coco: dict[str, Any]) -> None:
    assert protocol_of(coco) is None
    assert not list(protocol_errors(coco))
    assert len(list(protocol_errors(coco, "voc"))) == 3


def test_the_card_of_checked_files_has_their_protocol(coco: dict[str, Any], write: Writer, tmp_path: Path) -> None:
    plain = json.loads(json.dumps(coco))
    train, val = write(with_protocol(coco, ROWS["voc"])), write(coco, "val", seed=1)
    card = register_card(tmp_path / "card", "ants", [train, val], [], ["ant", "bee"])
    assert card.protocol == "voc"
    verify_card(load_card(str(tmp_path / "card")))
    val[0].write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"evaluation protocols: \{'train': 'voc', 'val': None\}"):
        register_card(tmp_path / "other", "ants", [train, val], [], ["ant", "bee"])


def test_a_run_refuses_a_card_whose_annotations_lack_its_protocol(
    coco: dict[str, Any], write: Writer, tmp_path: Path
) -> None:
    train = write(with_protocol(coco, [{"difficult": 0}, None, {"difficult": 1}]))
    make_card(tmp_path / "card", "ants", ["ant", "bee"], {"train": train}, protocol="voc")
    with pytest.raises(InputError, match=r"annotation 2 \(image 1\): protocol is missing, and the numbers of VOC need"):
        verify_card(load_card(str(tmp_path / "card")))
