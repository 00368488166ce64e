"""POST /tokenize, /detokenize, /apply-template, /v1/chat/completions/input_tokens."""

from fastapi import APIRouter

from ...errors import InvalidValue
from ...pool.resident import Resident
from ...worker.messages import Tokens
from ..conversation import Conversation
from ..prompting import plan
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
async def tokenize(body: TokenizeRequest, services: Collaborators) -> TokenizeAnswer:
    """The token ids of a text, or of a conversation as the model's template writes it."""
    text, name = body.text, meant(services, body.model)
    async with services.pool.lease(name, purpose="any" if text is not None else "text") as resident:
        if text is None:
            found = await _prompt_tokens(services, resident, body.conversation(name))
        else:
            found = await resident.tokenise(text, special=body.parse_special, leading=body.leading, pieces=True)
        return TokenizeAnswer(
            tokens=_with_pieces(found) if body.with_pieces else found.tokens,
            count=len(found.tokens),
            max_model_len=resident.context_length,
            token_strs=[spelled(piece) for piece in found.pieces] if body.return_token_strs else None,
        )


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, services: Collaborators) -> DetokenizeAnswer:
    """The text of token ids; control tokens have none."""
    async with services.pool.lease(meant(services, body.model), purpose="any") as resident:
        try:
            text = await resident.detokenise(body.tokens)
        except InvalidValue as error:
            raise InvalidValue(error.message, param="tokens") from None
    return DetokenizeAnswer(prompt=text, content=text)


@router.post("/apply-template")
async def apply_template(body: TemplateRequest, services: Collaborators) -> TemplateAnswer:
    """The prompt that a conversation becomes."""
    name = meant(services, body.model)
    async with services.pool.lease(name) as resident:
        planned = await plan(services, resident, body.conversation(name))
    return TemplateAnswer(prompt=planned.prompt)


@router.post("/v1/chat/completions/input_tokens")
async def count_input_tokens(body: ChatRequest, services: Collaborators) -> InputTokens:
    """How many tokens a chat request has before its answer."""
    body.refuse_unsupported()
    async with services.pool.lease(body.model) as resident:
        found = await _prompt_tokens(services, resident, body.conversation())
    return InputTokens(input_tokens=len(found.tokens))


async def _prompt_tokens(services: Services, resident: Resident, conversation: Conversation) -> Tokens:
    planned = await plan(services, resident, conversation)
    return await resident.tokenise(planned.prompt, special=True, pieces=True)


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
    if name is not None:
        return name
    loaded = [resident for resident in services.pool.residents if resident.state == "loaded"]
    return loaded[0].spec.variant_id(loaded[0].variant) if len(loaded) == 1 else services.registry.default
