"""Measures what models answer, and compares them with the first."""
