"""YAML files of users: strict rules, and errors that name the line.

In: text of a file. Out: plain values, or an error with the line of the key. No torch.
"""
