"""The command `c2d`.

In: command-line words. Out: calls of the other packages, text, an exit code.
Heavy packages are imported inside the commands.
"""
