"""`c2d browse`."""


def browse() -> None:
    """Not built yet."""
    raise NotImplementedError
