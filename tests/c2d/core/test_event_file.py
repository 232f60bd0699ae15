"""Events of metrics.jsonl: what was appended is read, a line that was cut is not."""

from __future__ import annotations

from c2d.core.curves.event_file import append_event, drop_events_after, read_events


def test_events_are_read_without_a_line_that_was_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_events(path) == []
    for iteration in (1, 2, 3):
        append_event(path, {"iteration": iteration})
    with path.open("a") as stream:
        stream.write('[1]\n{"iteration": 4, "lo')
    assert [event["iteration"] for event in read_events(path)] == [1, 2, 3]
    drop_events_after(path, 2)
    assert [event["iteration"] for event in read_events(path)] == [1, 2]
    append_event(path, {"iteration": 3})
    assert len(read_events(path)) == 3
