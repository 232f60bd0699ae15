"""Public data sets from their official places: `c2d data fetch NAME`.

In: the table of published archives. Out: a folder with the unpacked files and a data card, usable by name.
"""
