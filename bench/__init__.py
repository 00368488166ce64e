"""Benchmarks: every comparison in one run, quoted as ratios. Not part of the distribution."""
