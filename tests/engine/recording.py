"""A driver that also keeps every delta, and what the steps were."""

from dataclasses import dataclass, field

from server.engine.engine import StepResult
from server.types import Delta, TokenLogprob

from .driving import Driver


@dataclass
class Recorder(Driver):
    """Deltas by sequence, and prefilled tokens of all steps."""

    deltas: dict[str, list[Delta]] = field(default_factory=dict)
    prefilled: int = 0

    def _take(self, result: StepResult) -> None:
        super()._take(result)
        self.prefilled += result.prefill_tokens
        for name, delta in result.deltas.items():
            self.deltas.setdefault(name, []).append(delta)

    def scores(self, name: str) -> list[TokenLogprob]:
        """Scores of the answer, in order."""
        return [scored for delta in self.deltas[name] for scored in delta.logprobs]

    def prompt_scores(self, name: str) -> list[TokenLogprob]:
        """Scores of the prompt."""
        return [scored for delta in self.deltas[name] for scored in delta.prompt]
