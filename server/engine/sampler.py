"""Drawing the next token from a row of logits, with NumPy.

The order is: penalties and biases on the logits, temperature, then the truncations top_k, top_p and min_p, then one
draw from what is left. A greedy sequence without penalties never gets here: the engine takes the argmax of all such
rows at once.

    repetition  l > 0: l / r, else l * r, for every token of the prompt or the output (Keskar et al. 2019, CTRL)
    presence, frequency  l - p * [c > 0] - f * c, c = count of the token in the output (OpenAI API reference)
    top_p       the smallest set of best tokens whose probability reaches p (Holtzman et al. 2020)
    min_p       tokens with at least p times the best token's probability (Nguyen et al. 2024)
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from ..errors import EngineFailed
from ..runners.base import FloatRows
from ..types import SamplingParams

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
COLDEST = 1e-30  # below it float32 divides by zero; every token but the best has weight 0 long before
NUCLEUS_GUESS = 256  # tokens sorted at first for top_p; nearly always enough


class Sampler:
    """The sampling state of one sequence: its parameters, its random numbers and the counts that penalties need.

    The draw depends on the row, the seed and the number of earlier draws alone, not on the neighbours in the batch.
    """

    def __init__(self, params: SamplingParams, prompt: list[int], eos_ids: frozenset[int], index: int = 0) -> None:
        """`index` is the continuation's: with one seed, each draws numbers of its own."""
        self._params = params
        seed = np.random.SeedSequence(params.seed, spawn_key=(index,) if index else ())
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._output: Counter[int] = Counter()
        self._drawn = 0
        self._eos = np.fromiter(eos_ids, np.int64)
        self._prompt = np.unique(np.asarray(prompt, np.int64)) if params.repetition_penalty != 1 else None
        self._bias_ids = np.fromiter(params.logit_bias.keys(), np.int64)
        self._bias = np.fromiter(params.logit_bias.values(), np.float32)
        self._plain = not (
            params.logit_bias
            or params.min_tokens
            or params.presence_penalty
            or params.frequency_penalty
            or params.repetition_penalty != 1
        )

    @property
    def greedy(self) -> bool:
        """True if the next token is the argmax of the row as it is."""
        return self._params.temperature == 0 and self._plain

    def draw(self, row: FloatRows, allowed: Bools | None = None) -> int:
        """The next token for a row of logits [vocab_size], of the `allowed` ones if given. The row is not changed.

        Raises EngineFailed for a row whose best logit is not a number: the model is broken, or its weights are.
        """
        logits = row if self._plain else self._adjusted(row)
        if allowed is not None:
            logits = np.where(allowed, logits, np.float32(-np.inf))
        if not np.isfinite(logits.max()):
            raise EngineFailed("The model computed logits that are not finite numbers.")
        if self._params.temperature == 0:
            return int(logits.argmax())
        ids, weights = self._truncated(logits)
        cumulative = np.cumsum(weights, dtype=np.float64)
        at = int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))
        at = min(at, len(weights) - 1)
        return int(at if ids is None else ids[at])

    def accept(self, token: int) -> None:
        """Count a token that became part of the output."""
        self._drawn += 1
        if not self._plain:
            self._output[token] += 1

    def _adjusted(self, row: FloatRows) -> Floats:
        params = self._params
        logits = row.copy()
        used = np.fromiter(self._output.keys(), np.int64, len(self._output))
        if self._prompt is not None:
            seen = np.union1d(self._prompt, used)
            values = logits[seen]
            logits[seen] = np.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
        if len(used):
            counts = np.fromiter(self._output.values(), np.float32, len(used))
            logits[used] -= params.presence_penalty + params.frequency_penalty * counts
        logits[self._bias_ids] += self._bias
        if self._drawn < params.min_tokens:
            logits[self._eos] = -np.inf
        return logits

    def _truncated(self, logits: FloatRows) -> tuple[Ids | None, Floats]:
        """Token ids that stay (None: all of them, in order) and their weights, relative to the best token's."""
        params = self._params
        # Dividing the distance to the best token keeps tiny temperatures from overflowing.
        scaled = (logits - logits.max()) / np.float32(max(params.temperature, COLDEST))
        ids: Ids | None = None
        if 0 < params.top_k < len(scaled):
            ids = np.argpartition(scaled, -params.top_k)[-params.top_k :]
            scaled = scaled[ids]
        weights = np.exp(scaled)
        if params.top_p < 1:
            kept = _nucleus(weights, params.top_p)
            ids, weights = kept if ids is None else ids[kept], weights[kept]
        if params.min_p > 0:
            kept = np.flatnonzero(weights >= params.min_p)
            ids, weights = kept if ids is None else ids[kept], weights[kept]
        return ids, weights


def _nucleus(weights: Floats, top_p: float) -> Ids:
    """Indices of the smallest set of largest weights that reaches `top_p` of their sum, best first."""
    goal = top_p * float(weights.sum(dtype=np.float64))
    count = NUCLEUS_GUESS
    while True:
        whole = count >= len(weights)
        best = np.arange(len(weights)) if whole else np.argpartition(weights, -count)[-count:]
        best = best[np.argsort(-weights[best], kind="stable")]
        cumulative = np.cumsum(weights[best], dtype=np.float64)
        if whole or cumulative[-1] >= goal:
            return best[: int(np.searchsorted(cumulative, goal)) + 1]
        count *= 8
