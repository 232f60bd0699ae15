"""Reading a report spec: every mistake with its line, in one error; text stays text; nothing hostile is expanded."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.plots import pareto
from analysis.report import report_spec
from analysis.report.report_spec import read_spec
from analysis.spec.table_spec import TableSpec
from c2d.core.errors import InputError
from c2d.core.yaml.yaml_lines import MAX_BYTES


def spec(tmp_path: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_spec(path)
    return str(caught.value).replace(str(path), "FILE").splitlines()


def test_a_table_with_text_that_looks_like_numbers(tmp_path: Path) -> None:
    made = read_spec(
        spec(tmp_path, "kind: table\nrows: {weight: [0.10, no, 1e3]}\ncolumns: [AP, tide.Cls]\ndigits: {AP: 2}\n")
    )
    assert isinstance(made, TableSpec)
    assert made.rows == {"weight": ["0.10", "no", "1e3"]}
    assert (made.name, made.columns, made.digits) == ("mine", ["AP", "tide.Cls"], {"AP": 2})


def test_a_figure(tmp_path: Path) -> None:
    made = read_spec(spec(tmp_path, "kind: pareto\nname: front-1\ny: AP50\n"))
    assert isinstance(made, pareto.Spec)
    assert (made.name, made.y, made.x) == ("front-1", "AP50", "latency_p50")


def test_all_mistakes_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = spec(
        tmp_path,
        """kind: table
nam: x
rows: {method: baseline, T: []}
columns:
  - AP
  - AP5o
columns: [AP]
digits: {AP: many, FOO: 1}
published:
  paper: icod
  tabel: Table 1
  rows: {}
uncertainty: seed
""",
    )
    assert [line.split(";")[0] for line in mistakes(path)] == [
        "FILE:2: nam: unknown key 'nam'",
        "FILE:3: rows.method: wanted a list, e.g. [one, another], given 'baseline'",
        "FILE:6: columns[1]: unknown column 'AP5o'",
        "FILE:7: columns: is given twice, first in line 4",
        "FILE:8: digits.AP: wanted a whole number, given 'many'",
        "FILE:8: digits.FOO: unknown column 'FOO'",
        "FILE:9: published.table: is missing",
        "FILE:11: published.tabel: unknown key 'tabel'",
        "FILE:13: uncertainty: wanted 'seeds', 'images' or 'seeds+images', given 'seed'",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "kind: tabel\nrows: {a: []}\n",
            "FILE:1: unknown kind 'tabel'; did you mean 'table'? known: claims, ",
        ),
        ("rows: {a: []}\n", "FILE:1: no `kind`; write `kind: table`"),
        ("kind: table\n", "FILE:1: rows: is missing"),
        ("kind: table\nrows: {}\n", "FILE:2: rows: "),
        ("kind: table\nrows: {a: []}\ncolumns: [AP, AP]\n", "FILE:3: columns: given twice: AP"),
        ("kind: table\nrows: {a: []}\nname: ../up\n", "FILE:3: name: '../up' cannot be the name of files"),
        ("kind: table\nrows: {a: []}\nname: .hidden\n", "cannot be the name of files"),
        ("kind: sheet\n", "unknown kind 'sheet'"),
        ("kind: detections\nimages: 99\n", "FILE:2: images: "),
        ("kind: pareto\ny: APP\n", "FILE:2: y: unknown column 'APP'"),
        ("", "FILE:1: holds nothing, not keys and values; write `kind: table`"),
        ("# nothing\n", "FILE:1: holds nothing"),
        ("- kind\n- table\n", "FILE:1: holds a list, not keys and values"),
        ("table\n", "holds a single value"),
        ("kind: table\nrows: [\n", "FILE:3: not valid YAML"),
        ("kind: [table\n", "not valid YAML"),
        ("kind: &a [*a]\n", "FILE:1: kind[0]: an alias (*) inside its own anchor"),
        ("kind: !!python/object:os.system x\n", "FILE:1: kind: the tag tag:yaml.org,2002:python/object:os.system"),
        ("kind: table\n---\nkind: table\n", "a second document"),
        ("{[a]: b}\n", "a key is a list"),
        ("a: " + "[" * 3000, "nested too deeply"),
        (b"\xff\xfe\x00k", "FILE:1: is not UTF-8 text"),
        (b"kind: table\n\x00\n", "FILE:2: holds null bytes"),
        ("kind: \x07bell\n", "not valid YAML"),
        ("#" * (MAX_BYTES + 1), f"more than {MAX_BYTES:,} bytes"),
    ],
)
def test_what_is_no_spec_is_refused_in_words(text: str | bytes, words: str, tmp_path: Path) -> None:
    assert words in "\n".join(mistakes(spec(tmp_path, text)))


def test_labels_with_mistakes_are_lines_with_the_fix(tmp_path: Path) -> None:
    text = (
        "kind: table\nrows: {method: []}\nlabels:\n  method: {kd: $a, b: '$\\lamda$'}\nlabels_of_axes: {method: $$}\n"
    )
    path = spec(tmp_path, f"{text}labels_of_columns: {{AAP: x}}\nbold: second\np_in_latex: star\n")
    found = [line.removeprefix("FILE:") for line in mistakes(path)]
    assert [line.partition(": ")[0] for line in found] == ["4", "4", "5", "6", "7", "8"]
    assert "labels.method.kd: the label '$a' has an unclosed $; close the math" in found[0]
    assert r"did you mean \lambda?" in found[1]
    assert "no math between two dollar signs" in found[2]
    assert "unknown column 'AAP'; did you mean 'AP'?" in found[3]
    assert "wanted 'best' or 'none', given 'second'" in found[4]
    assert "wanted 'stars', 'column' or 'sentences'" in found[5]


def test_a_backslash_in_double_quotes_is_told_to_be_in_single_ones(tmp_path: Path) -> None:
    (line,) = mistakes(spec(tmp_path, 'kind: table\nlabels_of_axes: {method: "$\\lambda$"}\n'))
    assert "FILE:2: not valid YAML (found unknown escape character 'l'); write the text in single quotes" in line


def test_ten_levels_of_aliases_cost_nothing(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert "more than 200000 values with all aliases (*) filled in" in mistakes(spec(tmp_path, bomb))[0]


def test_a_name_that_is_no_file_name_needs_one_of_its_own(tmp_path: Path) -> None:
    text = "kind: table\nrows: {a: []}\n"
    assert "cannot be the name" in mistakes(spec(tmp_path, text, "my table.yaml"))[0]
    assert read_spec(spec(tmp_path, text + "name: mine\n", "my table.yaml")).name == "mine"


def test_missing_files_and_shipped_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec(tmp_path, "kind: table\nrows: {a: []}\n", "first-table.yaml")
    monkeypatch.setattr(report_spec, "SHIPPED", tmp_path)
    assert read_spec(Path("first-table")).name == read_spec(Path("first-table.yaml")).name == "first-table"
    with pytest.raises(InputError, match=r"no file first-tabel; .* first-table; did you mean 'first-table'\?"):
        read_spec(Path("first-tabel"))
    with pytest.raises(InputError, match="no file"):
        read_spec(tmp_path / "sub" / "first-table.yaml")
    with pytest.raises(InputError, match="is a folder; give a YAML file"):
        read_spec(tmp_path)


def test_a_file_of_results_lies_beside_the_spec(tmp_path: Path) -> None:
    text = "kind: table\nrows: {a: []}\npublished: {paper: p, table: t, rows: {}, file: own.csv}\n"
    assert read_spec(spec(tmp_path, text)).published.file == str(tmp_path / "own.csv")


@pytest.mark.parametrize("path", sorted(report_spec.SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_reports_are_right(path: Path) -> None:
    assert read_spec(path).name == path.stem


@settings(max_examples=50, deadline=None)
@given(text=st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin-1"))))
def test_any_text_is_a_spec_or_an_input_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError) as caught:
        read_spec(path)
    assert str(path) in str(caught.value)


_VALUES = st.recursive(
    st.one_of(st.just(""), st.sampled_from(["AP", "table", "0", "x"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "AP", "rows"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(values=st.dictionaries(st.sampled_from([*TableSpec.model_fields, "serie"]), _VALUES, max_size=6))
def test_any_values_are_a_spec_or_mistakes_with_lines(
    values: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "values.yaml"
    path.write_text(json.dumps({**values, "kind": "table"}, indent=1))
    said = ""
    try:
        made = read_spec(path)
    except InputError as error:
        said = str(error)
    assert said or isinstance(made, TableSpec)
    for line in filter(None, said.splitlines()):
        assert re.match(re.escape(f"{path}:") + "[0-9]+: ", line)
