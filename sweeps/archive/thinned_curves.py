"""Fewer train events in the metrics.jsonl of an export; every other event stays, and an event tells what was left out.

The kept events are as the run wrote them: none is averaged. First and last stay, the others are evenly spaced.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2d.core.curves.event_file import THINNED, read_events


def thin_curves(path: Path, points: int) -> None:
    """Keep at most so many train events of a file.

    Args:
        path: metrics.jsonl, which is replaced; it stays as it is where it has no more events.
        points: at least 2.
    """
    events = read_events(path)
    places = [place for place, event in enumerate(events) if event.get("event") == "train"]
    if len(places) <= points:
        return
    kept = {places[index * (len(places) - 1) // (points - 1)] for index in range(points)}
    found = [event for place, event in enumerate(events) if event.get("event") != "train" or place in kept]
    earlier = [event for event in found if event.get("event") == THINNED]
    of = max([len(places), *(event["of"] for event in earlier if isinstance(event.get("of"), int))])
    last = events[places[-1]].get("iteration")
    mark: dict[str, Any] = {"event": THINNED, "iteration": last, "kept": points, "of": of}
    lines = [mark, *(event for event in found if event.get("event") != THINNED)]
    path.write_text("".join(json.dumps(event) + "\n" for event in lines))
