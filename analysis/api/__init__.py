"""The Python interface of the analysis: what `import analysis` offers.

In: a store, or a frame of its runs as a user has changed it. Out: frames, tables and figures, by the functions that
`c2d report` calls. pandas and matplotlib are imported inside functions only.
"""
