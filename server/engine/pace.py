"""How many prompt tokens fit into a time budget, from the times of recent steps. Pure: it is told the times."""

SMOOTHING = 0.2  # weight of the newest measurement
FIRST_GUESS = 0.002  # seconds per prompt token before anything was measured


class Pace:
    """Moving averages of a decode-only step and of the extra time that one prompt token costs."""

    def __init__(self, seconds: float) -> None:
        self._budget = seconds
        self._decode_step = 0.0
        self._prompt_token = FIRST_GUESS

    def prefill_budget(self, minimum: int) -> int:
        """Prompt tokens that a step with decodes may carry; at least `minimum`, so that prompts always advance."""
        return max(minimum, int(self._budget / self._prompt_token))

    def record(self, decode_tokens: int, prefill_tokens: int, seconds: float) -> None:
        """Learn from one step."""
        if not prefill_tokens:
            self._decode_step = _blend(self._decode_step or seconds, seconds)
            return
        decoding = self._decode_step if decode_tokens else 0.0
        self._prompt_token = max(_blend(self._prompt_token, (seconds - decoding) / prefill_tokens), 1e-6)


def _blend(average: float, newest: float) -> float:
    return (1 - SMOOTHING) * average + SMOOTHING * newest
