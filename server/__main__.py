"""`python -P -m server` is the `cupola` command."""

from .cli import main

main()
