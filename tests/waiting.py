"""Waiting for a condition, within a bound."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], seconds: float = 5.0, pause: float = 0.01) -> None:
    """Return as soon as the condition holds; AssertionError when it does not within `seconds`.

    `pause` lies between two looks: longer where a look is work for somebody.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(pause)
