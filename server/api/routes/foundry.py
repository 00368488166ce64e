"""Foundry Local's older service, up to 0.8: what its SDKs for Python, C# and JavaScript call."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response

from ...errors import InvalidValue, ModelNotPulled, UnsupportedField
from ...models.places import place_of
from ..cancel import while_connected
from ..foundry import catalogue, downloading
from ..foundry.schemas import DownloadRequest, LegacyStatus, Row, TokenCount, Upgradable
from ..generation import Wait
from ..prompting import count_prompt
from ..schemas.chat import ChatRequest
from ..services import Collaborators, Services
from ..sse import EventStream

router = APIRouter(tags=["foundry"])

NO_GPU = -1
NOT_HERE = "No OpenAIService provider found for modelName"  # clients know by these words that it is to be downloaded
TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Lines of progress, a mark of the end, and `success` with `errorMessage` as one JSON object.",
        "content": {downloading.MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}
Ttl = Annotated[int | None, Query(ge=-1, le=10**9)]


@router.get("/openai/status")
async def read_status(http: Request, services: Collaborators) -> LegacyStatus:
    """Where the service is and where it keeps models."""
    endpoints = [str(http.base_url).rstrip("/")]
    return LegacyStatus(endpoints=endpoints, model_dir_path=str(services.settings.home), pipe_name="")


@router.get("/foundry/list")
async def list_catalogue(services: Collaborators) -> list[Row]:
    """Every model that can run here, on each kind of device that it can run on."""
    return [
        catalogue.row(entry, services.registry.aliases(entry.spec), services.pool.context_of(entry.spec, entry.variant))
        for entry in _entries(services)
    ]


@router.get("/openai/models")
async def list_cached(services: Collaborators) -> list[str]:
    """Ids of the models whose files are here."""
    return [entry.id for entry in _entries(services) if entry.manifest is not None]


@router.get("/openai/loadedmodels")
async def list_loaded(services: Collaborators) -> list[str]:
    """Ids of the loaded models."""
    return catalogue.loaded(services.pool.residents)


@router.get("/openai/load/{name}", response_class=PlainTextResponse)
async def load(
    name: str, http: Request, services: Collaborators, ttl: Ttl = None, timeout: Ttl = None, ep: str | None = None
) -> str:
    """Load a model; it leaves when it was idle for `ttl` seconds, which C#'s client calls `timeout`.

    `ep` is not looked at: the id says which kind of device is meant.
    """
    try:
        await while_connected(http.receive, services.pool.load(name, keep_alive=timeout if ttl is None else ttl))
    except ModelNotPulled as error:
        raise ModelNotPulled(f"{NOT_HERE} {name}. {error.message}", param="name") from None
    return ""


@router.get("/openai/unload/{name}", response_class=PlainTextResponse)
async def unload(name: str, services: Collaborators, force: bool = False) -> str:
    """Unload a model, with `force` also one that is in use. One that is not loaded stays so."""
    services.registry.resolve(name)
    await services.pool.unload(name, force=force)
    return ""


@router.get("/openai/unloadall", response_class=PlainTextResponse)
async def unload_all(services: Collaborators) -> str:
    """Unload every model that is not in use."""
    await services.pool.unload_all()
    return ""


@router.post("/openai/download", response_class=PlainTextResponse, responses=TEXT)
@router.post("/openai/upgrade", response_class=PlainTextResponse, responses=TEXT)
async def download(body: DownloadRequest, services: Collaborators) -> Response:
    """Bring a model of the list here. It stops when all who asked for it have left, and goes on when asked again."""
    name = body.model.name
    spec, choices = services.chooser.ranking(name)
    expected = next((entry.size for entry in _entries(services) if entry.spec is spec), 0)
    steps = services.pulls.pull(name)
    return EventStream(downloading.stream(steps, choices[0].variant.name, expected), downloading.DIALECT)


@router.get("/openai/upgradable/{name}")
async def read_upgradable(name: str, services: Collaborators) -> Upgradable:
    """Whether what the list has of a model is still to be downloaded."""
    _, choices = services.chooser.ranking(name)
    return Upgradable(upgradable=not any(choice.candidate.manifest for choice in choices))


@router.get("/openai/getgpudevice")
async def read_gpu(services: Collaborators) -> int:
    """0 where models run on a GPU here, -1 where none does."""
    return _gpu(services)


@router.get("/openai/setgpudevice/{device}", response_class=PlainTextResponse)
async def set_gpu(device: int, services: Collaborators) -> str:
    """Accepts the device that is used anyway, and no other."""
    if device != _gpu(services):
        raise InvalidValue(
            f"Device {device} cannot be chosen here: this server uses {_gpu(services)}. Hide devices from it with"
            " CUDA_VISIBLE_DEVICES, and start it again.",
            param="device",
        )
    return ""


@router.post("/openai/register", include_in_schema=False)
async def register() -> None:
    """Refused: there are no other providers."""
    raise UnsupportedField(
        "No other provider can be registered: this server answers with its own engines. Add a model with: cupola add"
    )


@router.post("/v1/chat/completions/tokenizer/encode/count")
async def count_tokens(body: ChatRequest, http: Request, services: Collaborators, wait: Wait) -> TokenCount:
    """How many tokens a chat request has before its answer."""
    body.refuse_unsupported()
    return TokenCount(
        token_count=await while_connected(http.receive, count_prompt(services, body.conversation(), wait))
    )


def _entries(services: Services) -> list[catalogue.Entry]:
    return catalogue.entries(services.registry, services.chooser)


def _gpu(services: Services) -> int:
    reached = {device for devices in services.chooser.facts.reach.values() for device in devices}
    return 0 if any(place.kind == "GPU" for place in map(place_of, reached)) else NO_GPU
