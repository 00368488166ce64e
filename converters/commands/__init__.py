"""`python -m converters NAME`: one file a converter, with its `command`, an `EXAMPLE`, and no import of a big library.

To add a converter, add a file here. Its name with dashes is the command's.
"""
