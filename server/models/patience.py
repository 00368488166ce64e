"""How long a lost connection is worth waiting for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import SourceUnreachable

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How often a lost connection is tried again."""

    attempts: int = 5
    first_wait: float = 0.5  # seconds; doubles each time
    longest_wait: float = 8.0

    def retry(self, attempt: Callable[[], Result], progress: Callable[[], object] = lambda: None) -> Result:
        """Call `attempt` until it returns, or until it raised SourceUnreachable often enough, which is then raised.

        An attempt after which `progress` has changed starts the count anew.
        """
        failures, before = 0, progress()
        while True:
            try:
                return attempt()
            except SourceUnreachable as error:
                now = progress()
                failures = failures + 1 if now == before else 1
                before = now
                if failures >= self.attempts:
                    raise
                pause = min(self.first_wait * 2 ** (failures - 1), self.longest_wait)
                time.sleep(max(pause, error.retry_after or 0))
