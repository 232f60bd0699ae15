"""The command `c2d`.

In: command-line words. Out: calls into the other rooms, text, an exit code.
Heavy packages are imported inside the commands.
"""
