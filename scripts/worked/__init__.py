"""Worked examples: data that is made here, so that a reader can repeat a whole training without a download."""
