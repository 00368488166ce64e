"""POST /tokenize, /detokenize, /apply-template, /v1/chat/completions/input_tokens."""

from fastapi import APIRouter, Request

from ...errors import InvalidValue
from ...worker.messages import Tokens
from ..accounting import asked_for
from ..cancel import while_connected
from ..generation import Wait
from ..prompting import count_prompt, plan, prompt_tokens
from ..schemas.chat import ChatRequest
from ..schemas.tokens import (
    DetokenizeAnswer,
    DetokenizeRequest,
    InputTokens,
    TemplateAnswer,
    TemplateRequest,
    TokenizeAnswer,
    TokenizeRequest,
    TokenPiece,
)
from ..scored import spelled
from ..services import Collaborators, Services

router = APIRouter(tags=["tokens"])


@router.post("/tokenize", response_model_exclude_none=True)
async def tokenize(body: TokenizeRequest, http: Request, services: Collaborators, wait: Wait) -> TokenizeAnswer:
    """The token ids of a text, or of a conversation as the model's template writes it."""
    return await while_connected(http.receive, _tokenized(services, body, wait))


async def _tokenized(services: Services, body: TokenizeRequest, wait: float | None) -> TokenizeAnswer:
    text, name = body.text, meant(services, body.model)
    async with services.pool.lease(name, wait, purpose="any" if text is not None else "text") as resident:
        if text is None:
            found = await prompt_tokens(services, resident, body.conversation(name), pieces=True)
        else:
            found = await resident.tokenise(text, special=body.parse_special, leading=body.leading, pieces=True)
        return TokenizeAnswer(
            tokens=_with_pieces(found) if body.with_pieces else found.tokens,
            count=len(found.tokens),
            max_model_len=resident.context_length,
            token_strs=[spelled(piece) for piece in found.pieces] if body.return_token_strs else None,
        )


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, http: Request, services: Collaborators, wait: Wait) -> DetokenizeAnswer:
    """The text of token ids; control tokens have none."""

    async def work() -> str:
        async with services.pool.lease(meant(services, body.model), wait, purpose="any") as resident:
            return await resident.detokenise(body.tokens)

    try:
        text = await while_connected(http.receive, work())
    except InvalidValue as error:
        raise InvalidValue(error.message, param="tokens") from None
    return DetokenizeAnswer(prompt=text, content=text)


@router.post("/apply-template")
async def apply_template(body: TemplateRequest, http: Request, services: Collaborators, wait: Wait) -> TemplateAnswer:
    """The prompt that a conversation becomes."""
    conversation = body.conversation(meant(services, body.model))

    async def work() -> TemplateAnswer:
        async with services.pool.lease(conversation.model, wait) as resident:
            return TemplateAnswer(prompt=(await plan(services, resident, conversation)).prompt)

    return await while_connected(http.receive, work())


@router.post("/v1/chat/completions/input_tokens")
async def count_input_tokens(body: ChatRequest, http: Request, services: Collaborators, wait: Wait) -> InputTokens:
    """How many tokens a chat request has before its answer."""
    body.refuse_unsupported()
    count = await while_connected(http.receive, count_prompt(services, body.conversation(), wait))
    return InputTokens(input_tokens=count)


def _with_pieces(found: Tokens) -> list[TokenPiece]:
    return [
        TokenPiece(id=token, piece=_text_or_bytes(piece))
        for token, piece in zip(found.tokens, found.pieces, strict=True)
    ]


def _text_or_bytes(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def meant(services: Services, name: str | None) -> str:
    """The model that is asked for; without a name the only loaded one, else the default."""
    if name is None:
        loaded = [resident for resident in services.pool.residents if resident.loaded]
        name = loaded[0].spec.variant_id(loaded[0].variant) if len(loaded) == 1 else services.registry.default
    asked_for(services.registry, name)
    return name
