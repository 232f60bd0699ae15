"""`c2d compare`."""


def compare() -> None:
    """Not built yet."""
    raise NotImplementedError
