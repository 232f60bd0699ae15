"""Read a store.

In: run folders, sweep manifests, latency files. Out: one tidy frame with a row for every planned cell and seed.
Never writes into the store.
"""
