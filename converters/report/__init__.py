"""The quality report: artifacts side by side, how close each is to a reference, how large and how fast.

`measure` asks a `probe`, a process of its own, for each; `table` and `page` show what it found.
"""
