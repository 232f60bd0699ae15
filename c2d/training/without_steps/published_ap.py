"""AP of a model-zoo detector beside the published one."""

from __future__ import annotations

from typing import Any

from c2d.data.public import public_cards
from c2d.specs.spec import RunSpec
from c2d.weights.zoo.zoo_table import PREFIX, zoo_file

COCO = "coco2017"
LARGEST_DIFFERENCE = 0.3
"""In AP of 0 to 100. mmdet and this suite round boxes and images alike; what is larger has a reason to be found."""


def published_facts(spec: RunSpec, ap: float | None) -> dict[str, Any]:
    """Return what result.json says about the published AP of a run's weights.

    Args:
        spec: of a run without training.
        ap: AP of the run, 0 to 1.

    Returns:
        {published_ap: 0 to 1, or None where nothing is published for this data set and these settings,
        published_ap_warning: text or None}.
    """
    card = public_cards()[COCO]
    is_comparable = spec.dataset.digest == card.digest and spec.input is None and not spec.overrides
    if not spec.init.startswith(PREFIX) or not is_comparable:
        return {"published_ap": None, "published_ap_warning": None}
    published = zoo_file(spec.init).ap_percent / 100
    difference = None if ap is None else 100 * (ap - published)
    warning = None
    if difference is None or abs(difference) > LARGEST_DIFFERENCE:
        found = (
            "undefined" if difference is None else f"{100 * (ap or 0):.2f}, {difference:+.2f} from the published one"
        )
        warning = (
            f"AP of {spec.init} is {found} ({100 * published:.1f}), more than {LARGEST_DIFFERENCE} away: data, test "
            "settings or the file are not those of the publication; do not teach with it before the reason is known"
        )
    return {"published_ap": round(published, 6), "published_ap_warning": warning}
