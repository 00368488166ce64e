"""Child processes with one duplex pipe: how the server talks to what may hang, crash or be killed.

Nothing is re-exported: a child imports `channel` alone, and so stays small and quick to start.
"""
