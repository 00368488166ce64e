"""A completion request for one loaded model, and what is told of the deltas that come back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..pool.resident import Resident
from ..types import Delta, FinishReason, Request, TokenLogprob, Usage
from .infill import infill
from .schemas.completions import CompletionLogprobs, CompletionRequest
from .scored import Piece, ScoredText, aligned, generated


async def requests_of(body: CompletionRequest, resident: Resident, name: str) -> list[Request]:
    """One request a prompt. Raises InvalidValue, and UnsupportedField for a suffix that the model cannot take."""
    ranked = body.candidates > body.choices
    scored = 0 if ranked and body.logprobs is None else body.logprobs
    params, grammar = body.sampling(resident.spec.sampling), body.grammar()
    prompts = body.prompts
    if body.suffix:
        prompts = [await infill(resident, prompt, body.suffix) for prompt in prompts]
    return [
        Request(
            name if len(prompts) == 1 else f"{name}-{number}",
            prompt,
            params,
            cache_prompt=body.cache_prompt,
            n=body.candidates,
            logprobs=scored,
            prompt_logprobs=body.logprobs if body.echo else None,
            grammar=grammar,
        )
        for number, prompt in enumerate(prompts)
    ]


class Telling:
    """What the answer says of each delta: its text and log-probabilities, after the prompt's where it is echoed."""

    def __init__(self, body: CompletionRequest) -> None:
        self._body = body
        self._prompts = body.prompts
        self._echoes: list[str] = []
        self._scores: dict[int, tuple[TokenLogprob, ...]] = {}  # of the tokens of each prompt
        self._texts: dict[int, ScoredText] = {}  # by continuation, of those that have begun

    async def prepare(self, resident: Resident) -> None:
        """Find the text of the prompts that are to be echoed. Raises InvalidValue."""
        if not self._body.echo:
            return
        for prompt in self._prompts:
            try:
                self._echoes.append(prompt if isinstance(prompt, str) else await resident.detokenise(prompt))
            except InvalidValue as error:
                raise InvalidValue(error.message.replace("tokens:", "prompt:", 1), param="prompt") from None

    def tell(self, delta: Delta) -> tuple[str, CompletionLogprobs | None]:
        """The text that a continuation gained, and the log-probabilities if asked for."""
        number = delta.index // self._body.candidates
        if delta.prompt:
            self._scores[number] = delta.prompt
        begins = delta.index not in self._texts
        if begins:
            self._texts[delta.index] = ScoredText(top=bool(self._body.logprobs))
        echoed = begins and bool(self._body.echo)
        text = self._echoes[number] + delta.text if echoed else delta.text
        if self._body.logprobs is None:
            return text, None
        prompt = self._pieces(number) if echoed else ()
        return text, self._texts[delta.index].add(generated(delta.logprobs), prompt)

    def _pieces(self, number: int) -> list[Piece]:
        """The tokens of a prompt: the first continuation brought their scores, and it begins first."""
        scores = self._scores[number]
        if isinstance(self._prompts[number], str):
            return list(aligned(scores, self._echoes[number]))
        return list(generated(scores))


@dataclass(slots=True)
class Told:
    """One continuation, folded."""

    text: str = ""
    logprobs: CompletionLogprobs | None = None
    finish: FinishReason | None = None
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0))
    sum: float = 0.0  # of the log-probabilities of its own tokens
    count: int = 0

    def add(self, delta: Delta, text: str, logprobs: CompletionLogprobs | None) -> None:
        """Fold one more delta in."""
        self.text += text
        if self.logprobs is None:
            self.logprobs = logprobs
        elif logprobs is not None:
            self.logprobs.extend(logprobs)
        self.sum += sum(scored.logprob or 0.0 for scored in delta.logprobs)
        self.count += len(delta.logprobs)
        if delta.finish and delta.usage:
            self.finish, self.usage = delta.finish, delta.usage

    @property
    def likelihood(self) -> float:
        """Log-probability a token, which `best_of` goes by; an answer of no tokens comes last."""
        return self.sum / self.count if self.count else -float("inf")


async def fold_all(stream: AsyncGenerator[Delta], telling: Telling, count: int) -> list[Told]:
    """The plain answer is the stream, collected: every continuation of every prompt."""
    found = [Told() for _ in range(count)]
    async with aclosing(stream):
        async for delta in stream:
            found[delta.index].add(delta, *telling.tell(delta))
    return found


def chosen(found: list[Told], body: CompletionRequest) -> list[Told]:
    """The choices of the answer: of each prompt the likeliest `n` where more were generated, else all in order."""
    if body.candidates == body.choices:
        return found
    groups = [found[at : at + body.candidates] for at in range(0, len(found), body.candidates)]
    ranked = (sorted(group, key=lambda told: told.likelihood, reverse=True) for group in groups)
    return [told for group in ranked for told in group[: body.choices]]
