"""Downloads: the only files of the suite that open an HTTP connection.

In: the address, size and sha256 of a published file. Out: the file in its folder, verified.
"""
