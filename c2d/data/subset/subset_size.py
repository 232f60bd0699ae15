"""Read how many training images a subset has: a share ("10%", "0.1") or a number ("30")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from c2d.core.errors import MAX_NAME, InputError

_SHARE = re.compile(r"[0-9]{0,9}\.[0-9]{1,9}")
_PERCENT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)%")
_NUMBER = re.compile(r"[0-9]{1,18}")
_FORMS = "a share as 0.1 or 10%, or a number of images as 30"


@dataclass(frozen=True)
class SubsetSize:
    """The size of a subset, as it was given.

    Attributes:
        text: as given.
        share: of the images, above 0 and at most 1; None where a number was given.
        number: of images, above 0; None where a share was given.
    """

    text: str
    share: Fraction | None = None
    number: int | None = None

    def of(self, total: int) -> int:
        """Return the number of images; half an image is rounded to the even number.

        Args:
            total: number of images of the whole data set.

        Raises:
            InputError: there are fewer images, or the share is no image.
        """
        if self.number is not None and self.number > total:
            raise InputError(f"--train {self.text} is more than the {total} training images there are; give fewer")
        found = self.number if self.number is not None else round((self.share or 0) * total)
        if not found:
            raise InputError(f"--train {self.text} of {total} training images is no image; give a larger share")
        return found


def read_size(text: str) -> SubsetSize:
    """Read the size of a subset. A number with a point or a percent sign is a share, another one counts images.

    >>> read_size("10%").share, read_size("0.1").share, read_size("1").number
    (Fraction(1, 10), Fraction(1, 10), 1)

    Raises:
        InputError: neither a share above 0 and at most 1 nor a whole number above 0.
    """
    given = text.strip()
    if percent := _PERCENT.fullmatch(given):
        share = Fraction(percent[1]) / 100
    elif _SHARE.fullmatch(given):
        share = Fraction(given)
    elif _NUMBER.fullmatch(given) and int(given):
        return SubsetSize(given, number=int(given))
    else:
        raise InputError(f"--train {text[:MAX_NAME]!r}; wanted {_FORMS}")
    if not 0 < share <= 1:
        raise InputError(f"--train {given} is no share: wanted above 0 and at most 1 (100%); {_FORMS}")
    return SubsetSize(given, share=share)
