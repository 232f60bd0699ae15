"""`c2d score`."""


def score() -> None:
    """Not built yet."""
    raise NotImplementedError
