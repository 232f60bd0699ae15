"""Files are read fast and checked as strictly as lists in memory: same values, same messages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.errors import InputError
from c2d.metrics import coco_json
from c2d.metrics.coco_data import CocoData, add_detections, prepare, read_truth
from tests.analysis.toy_scenes import coco_results, small_sets, synthetic_coco, truth

BOX = [0.0, 0.0, 40.0, 40.0]
TARGETS = truth([(1, 1, BOX), (1, 2, BOX)])
DETECTIONS = coco_results([(1, 1, BOX, 0.9)])


def _write(folder: Path, targets: bytes, detections: bytes) -> tuple[Path, Path]:
    paths = folder / "targets.json", folder / "detections.json"
    for path, content in zip(paths, (targets, detections), strict=True):
        path.write_bytes(content)
    return paths


def _facts(data: CocoData) -> dict[str, Any]:
    """Everything a `CocoData` holds, in types that compare; a float by its bits, -0 as 0."""
    return {
        name: (str(value.dtype), value.shape, (value + 0).tolist()) if isinstance(value, np.ndarray) else value
        for name, value in vars(data).items()
        if name != "cache"
    }


def _slowly(targets: bytes, detections: bytes) -> Any:
    """Read two files with the standard library and `c2d.metrics.coco_data`; return the result or the message."""
    try:
        known = read_truth(json.loads(targets))
        return _facts(add_detections(known, json.loads(detections)))
    except InputError as error:
        return str(error)
    except (ValueError, RecursionError):
        return "no JSON"


def _agrees(folder: Path, targets: bytes, detections: bytes) -> Any:
    expected = _slowly(targets, detections)
    try:
        result: Any = _facts(coco_json.load(*_write(folder, targets, detections)))
    except InputError as error:
        result = str(error)
        assert "\n" not in result
        if str(folder) in result:
            assert "is not valid JSON" in result
            result = "no JSON"
    assert result == expected
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


small = st.integers(-1, 3)
strange = st.one_of(
    st.none(),
    st.booleans(),
    small,
    st.sampled_from((10**20, -(10**20), 2**63, 10**400, -(10**400), 1e308, -0.0, 1e-320, 0.1 + 0.2, 2**53 + 1)),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(("1", "\ud800", "é", "")),
    st.lists(small, max_size=5),
    st.dictionaries(st.text(max_size=2), small, max_size=4),
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 30).flatmap(lambda n: usual if n else strange)


sides: st.SearchStrategy[Any] = st.tuples(st.floats(-50, 50), small, st.integers(0, 90), st.floats(0, 90)).map(list)
box = mostly(st.one_of(sides, sides, sides, sides, sides, st.lists(mostly(st.floats(-1, 5)), min_size=3, max_size=5)))
extra = st.dictionaries(st.sampled_from(("segmentation", "id", "é", "id\n", "area")), strange, max_size=2)


def record(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    whole = st.tuples(extra, st.fixed_dictionaries(required, optional=optional)).map(lambda two: {**two[0], **two[1]})
    return mostly(whole.flatmap(lambda one: st.sampled_from([one] * 9 + [dict(list(one.items())[1:])])))


detection_lists = mostly(
    st.lists(
        record(
            {"image_id": mostly(st.just(1)), "category_id": mostly(st.integers(1, 2)), "bbox": box}
            | {"score": mostly(st.floats(0, 1))},
            {},
        ),
        max_size=4,
    )
)
object_lists = st.lists(
    record(
        {"image_id": mostly(st.integers(1, 2)), "category_id": mostly(st.integers(1, 2)), "bbox": box},
        {"iscrowd": mostly(st.integers(0, 1)), "area": mostly(st.floats(0, 99)), "id": mostly(st.integers(0, 30))},
    ),
    max_size=3,
)
truths = mostly(
    st.fixed_dictionaries(
        {
            "images": mostly(st.permutations([{"id": 2, "license": None}, {"id": 1, "width": 5}])),
            "annotations": mostly(object_lists),
            "categories": mostly(
                st.permutations([{"id": 1, "name": "é"}, {"id": 2, "name": "b"}]) | st.lists(record({"id": small}, {}))
            ),
        }
    )
)
spelled = st.booleans().flatmap(lambda ascii_only: st.just(lambda value: _spelled(value, ascii_only)))


def _spelled(value: Any, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")


@given(small_sets(), spelled)
@settings(max_examples=50, deadline=None)
def test_regular_files_are_read_as_lists_are(folder, scene, spell):
    assert isinstance(_agrees(folder, *map(spell, scene)), dict)


@given(truths, detection_lists, spelled)
@settings(max_examples=50, deadline=None)
def test_arbitrary_records(folder, targets, detections, spell):
    _agrees(folder, spell(targets), _spelled(DETECTIONS, True))
    _agrees(folder, _spelled(TARGETS, True), spell(detections))


@given(st.data(), st.sampled_from((b"\x00", b"\xff", b"\xc3\xa9", b"1", b"-", b"e", b'"', b"]", b",", b"NaN", b"\\")))
@settings(max_examples=50, deadline=None)
def test_a_damaged_file(folder, data, scratch):
    whole = json.dumps([{**DETECTIONS[0], "words": "ab"}] * 2).encode()
    at, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 3))
    _agrees(folder, json.dumps(TARGETS).encode(), whole[:at] + scratch + whole[at + length :])
    _agrees(folder, json.dumps(TARGETS).encode(), whole[:at])
    truth_too = json.dumps(TARGETS).encode()
    at %= len(truth_too)
    _agrees(folder, truth_too[:at] + scratch + truth_too[at + length :], whole)


def _one(more: str = "") -> str:
    """A results list of one record that ends in `more`."""
    return '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5' + more + "}]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[]", dict, id="nothing found"),
        pytest.param("\n " + _one() + "\t", dict, id="ints for floats"),
        pytest.param(_one(', "score": 0.25'), dict, id="the last of equal keys"),
        pytest.param(_one(', "bbox": "no"'), "bbox 'no' is not four numbers", id="the last is wrong"),
        pytest.param("\ufeff" + _one(), dict, id="byte order mark"),
        pytest.param(_one(', "area": NaN'), dict, id="NaN that nobody reads"),
        pytest.param(_one(', "score": NaN'), "number 0: score nan is not finite", id="NaN"),
        pytest.param(_one(', "score": -Infinity'), "score -inf is not finite", id="Infinity"),
        pytest.param(_one(', "score": 1e999'), "score inf is not finite", id="1e999"),
        pytest.param(_one(f', "score": {10**400}'), "score inf is not finite", id="a huge integer"),
        pytest.param(_one(f', "bbox": [0, 0, {10**400}, 1]'), "is not finite", id="a huge side"),
        pytest.param(_one(', "image_id": 1.0'), dict, id="1.0 is 1"),
        pytest.param(_one(', "image_id": 9223372036854775808'), "name image_id 9223372036854775808", id="id"),
        pytest.param(_one(', "bbox": [0, 0, -1, 1]'), "has a negative width or height", id="negative"),
        pytest.param("{}", "detections are {}, not a list", id="an object"),
        pytest.param('"words"', "detections are 'words', not a list", id="words"),
        pytest.param("[1]", "detection number 0 has no 'image_id': 1", id="a number for a record"),
        pytest.param("", "no JSON", id="empty"),
        pytest.param(_one()[:-1], "no JSON", id="cut off"),
        pytest.param("[" * 100_000, "no JSON", id="deep"),
        pytest.param(_one(', "x": ' + "[" * 100_000), "no JSON", id="deep inside"),
    ],
)  # fmt: skip
def test_files_one_by_one(tmp_path, text, expected):
    result = _agrees(tmp_path, json.dumps(TARGETS).encode(), text.encode())
    assert isinstance(result, dict) if expected is dict else expected in result


@pytest.mark.parametrize("words", ["utf-16", "latin-1"])
def test_other_encodings(tmp_path, words):
    text = _one(', "é": "é"')
    result = _agrees(tmp_path, json.dumps(TARGETS).encode(), text.encode(words))
    assert isinstance(result, dict) == (words == "utf-16")  # which JSON allows


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": [{**TARGETS["annotations"][0], "area": None, "iscrowd": True}]},
        {"annotations": [{k: v for k, v in TARGETS["annotations"][0].items() if k != "id"}] * 2},
        {"annotations": [{**TARGETS["annotations"][0], "id": [1]}] * 2},
        {"annotations": [{**TARGETS["annotations"][0], "area": 10**400}]},
        {"images": [{"id": "a"}, {"id": 1}]},
        {"images": [{"id": 1}, {"id": True}]},
        {"categories": [{"id": 1}, {"id": 2, "name": 3}]},
        {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
    ],
)
def test_targets_one_by_one(tmp_path, change):
    assert _agrees(tmp_path, json.dumps({**TARGETS, **change}).encode(), json.dumps(DETECTIONS).encode())


@pytest.mark.parametrize("ending", ["json", "json.gz"])
def test_regular_files_never_take_the_slow_path(tmp_path, monkeypatch, ending):
    scene = synthetic_coco(20, 5, 6, 30)
    paths = [tmp_path / f"{name}.{ending}" for name in ("targets", "detections")]
    for path, value in zip(paths, scene, strict=True):
        raw = json.dumps(value).encode()
        path.write_bytes(gzip.compress(raw) if ending == "json.gz" else raw)
    monkeypatch.setattr(coco_json, "_slow", None)
    assert _facts(coco_json.load(*paths)) == _facts(prepare(*scene))


def test_one_ground_truth_serves_several_lists(tmp_path):
    paths = _write(tmp_path, json.dumps(TARGETS).encode(), json.dumps(DETECTIONS).encode())
    known = coco_json.read_targets(paths[0])
    assert known.sizes == {"images": 1, "boxes": 2, "crowds": 0, "detections": 0}
    first = coco_json.read_detections(paths[1], known)
    paths[1].write_text("[]")
    assert coco_json.read_detections(paths[1], first).sizes["detections"] == 0
    assert first.sizes["detections"] == 1


def test_files_that_cannot_be_read_are_named(tmp_path):
    known = read_truth(TARGETS)
    whole = gzip.compress(json.dumps(DETECTIONS * 50).encode())
    for name, content, words in (
        ("cut.json.gz", whole[:-20], "is not a complete gzip file"),
        ("empty.json.gz", b"", "is not valid JSON"),
        ("plain.json.gz", b"[]", "cannot be read: Not a gzipped file"),
        ("flipped.json.gz", whole[:20] + bytes(byte ^ 255 for byte in whole[20:30]) + whole[30:], ""),
        ("twice.json.gz", whole + b"rest", "cannot be read"),
        ("zipped.json", whole, "is not valid JSON"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            coco_json.read_detections(path, known)
        assert str(caught.value).startswith(str(path))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"absent.json is missing"):
        coco_json.load(tmp_path / "absent.json", tmp_path / "absent.json")
    with pytest.raises(InputError, match="is not a regular file"):
        coco_json.read_detections(tmp_path, known)


def test_every_damaged_byte_of_a_gzip_file_is_noticed_or_harmless(tmp_path):
    whole = gzip.compress(json.dumps(DETECTIONS).encode(), mtime=0)
    path, known = tmp_path / "d.json.gz", read_truth(TARGETS)
    expected = _facts(prepare(TARGETS, DETECTIONS))
    noticed = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert _facts(coco_json.read_detections(path, known)) == expected  # a time stamp or the like
        except InputError as error:
            noticed += str(path) in str(error)
    assert noticed > len(whole) - 10
