"""From a request to its sequences: tokenised, checked against the loaded model, with their grammar compiled."""

from ..errors import ContextLengthExceeded, InvalidValue, UnsupportedField
from ..runners.base import ModelRunner
from ..types import Request
from .guidance import Guide, Guides, control_token
from .sampler import Sampler
from .sequence import Sequence
from .text import TextStream


def make_sequences(request: Request, runner: ModelRunner, guides: Guides, guide: Guide | None = None) -> list[Sequence]:
    """One sequence for each continuation; all but the first wait for its prompt. Any thread may call it.

    With `guide`, the request's grammar as `guides` kept it, nothing is compiled.

    Raises ContextLengthExceeded, UnsupportedField for what the engine cannot do, and InvalidValue for token ids that
    the model does not have and for a grammar that cannot be enforced.
    """
    tokens = _tokens(request, runner)
    guide = _guide(request, guides, guide)
    named = {text: control_token(runner.tokenizer, text) for text in request.shown}
    shown = {token: text.encode() for text, token in named.items() if token is not None}
    sequences: list[Sequence] = []
    for index in range(request.n):
        sequence = Sequence(
            request=request,
            prompt_tokens=len(tokens),
            tokens=list(tokens),
            sampler=Sampler(request.params, tokens, runner.tokenizer.eos_ids, index),
            text=TextStream(request.params.stop),
            limit=runner.info.context_length,
            index=index,
            leader=sequences[0] if sequences else None,
            guide=guide.copy() if guide else None,
            shown=shown,
        )
        sequences.append(sequence)
    return sequences


def _guide(request: Request, guides: Guides, kept: Guide | None) -> Guide | None:
    """The compiled grammar. Where one says when an answer ends, the request cannot say otherwise."""
    if request.grammar is None:
        return None
    for name in ("min_tokens", "ignore_eos"):
        if getattr(request.params, name):
            raise UnsupportedField(f"{name}: the form that is asked for says where the answer ends.", param=name)
    return kept or guides.compile(request.grammar)


def _tokens(request: Request, runner: ModelRunner) -> list[int]:
    """The prompt's tokens, checked."""
    info, params = runner.info, request.params
    if isinstance(request.prompt, str):
        tokens = runner.tokenizer.encode(request.prompt, special=request.special)
    else:
        tokens = list(request.prompt)
    if not tokens:
        raise InvalidValue("The prompt is empty.", param="prompt")
    for name, ids in (("prompt", tokens), ("logit_bias", params.logit_bias)):
        wrong = next((token for token in ids if not 0 <= token < info.vocab_size), None)
        if wrong is not None:
            raise InvalidValue(f"{name}: the model has no token {wrong}; ids are below {info.vocab_size}.", param=name)
    if len(tokens) + (1 if params.max_tokens is None else params.max_tokens) > info.context_length:
        raise ContextLengthExceeded.of(len(tokens), params.max_tokens, info.context_length)
    if request.prompt_logprobs is not None and info.logits == "last":
        raise UnsupportedField("This engine computes no log-probabilities of a prompt; leave out echo.", param="echo")
    return tokens
