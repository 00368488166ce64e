"""The whole line in one command: data, teaching, training, evaluation, conversion, a gate, and a new version."""
