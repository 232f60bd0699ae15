"""The core of part `odd-data`: traps are refused by the check, within its limits; links and odd names are read."""

from tests.trust import odd_data
from tests.trust.odd_sets import OddSet, outside_link


def test_a_trap_is_refused_with_its_file(tmp_path):
    ordinary = odd_data.check(OddSet(tmp_path / "set").write(), tmp_path)
    ends = {}
    for name, data, text in odd_data.traps(tmp_path / "traps"):
        ends[name] = odd_data.refused(data, text, ordinary, tmp_path)
    assert len(ends) == 9
    assert not [f"{name}: {end[1]}" for name, end in ends.items() if not end[0]]


def test_links_out_of_a_data_set_and_names_in_any_script_are_read(tmp_path):
    plain = odd_data.check(OddSet(tmp_path / "a" / "set").write(), tmp_path)
    linked = odd_data.check(OddSet(tmp_path / "b" / "set", place=outside_link).write(), tmp_path)
    assert (plain.code, linked.code) == (0, 0), linked.output
    assert linked.output.replace("/b/", "/a/") == plain.output
    sets = {data.folder.name: data for _, data, _ in odd_data.good_sets(tmp_path / "c")}
    found = odd_data.check(sets["names"].write(), tmp_path)
    assert found.code == 0, found.output
