"""Which key each route needs. A route that is new has to be put into one of these lists."""

import pytest
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from server.api.cross_site import check_site
from server.api.gate import needed_scope
from server.app import ROUTES
from server.errors import CrossSiteRefused

OPEN = {"/health", "/health/live", "/health/ready", "/version"}
METRICS = {"/metrics"}
# What changes which models are here or loaded. Of these, clients of Foundry Local ask some by GET.
BY_GET = {
    "/models/load/{name}",
    "/models/unload/{name}",
    "/openai/load/{name}",
    "/openai/unload/{name}",
    "/openai/unloadall",
    "/openai/setgpudevice/{device}",
}
ADMIN = BY_GET | {
    "/admin/load",
    "/admin/models",
    "/admin/reload",
    "/admin/unload",
    "/api/pull",
    "/openai/download",
    "/openai/register",
    "/openai/upgrade",
    "/shutdown",
}
INFER = {
    "/",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
    "/api/generate",
    "/api/ps",
    "/api/show",
    "/api/tags",
    "/api/version",
    "/apply-template",
    "/detokenize",
    "/foundry/list",
    "/models/loaded",
    "/openai/getgpudevice",
    "/openai/loadedmodels",
    "/openai/models",
    "/openai/status",
    "/openai/upgradable/{name}",
    "/status",
    "/tokenize",
    "/v1/chat/completions",
    "/v1/chat/completions/input_tokens",
    "/v1/chat/completions/tokenizer/encode/count",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/{name}",
    "/v1/rerank",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/responses/{response_id}",
    "/v1/responses/{response_id}/cancel",
    "/v1/responses/{response_id}/input_items",
    "/v1/system",
}
STATED = {None: OPEN, "metrics": METRICS, "admin": ADMIN, "infer": INFER}


def routes() -> list[APIRoute]:
    return [route for module in ROUTES for route in module.router.routes if isinstance(route, APIRoute)]


def test_the_scope_of_each_route_is_stated() -> None:
    found: dict[str | None, set[str]] = {scope: set() for scope in STATED}
    for route in routes():
        found[needed_scope(route.path)].add(route.path)
    assert found == STATED


def test_what_a_get_changes_is_for_no_page_of_another_site() -> None:
    asked = {route.path for route in routes() if "GET" in (route.methods or ()) and needed_scope(route.path) == "admin"}
    assert asked - {"/admin/models"} == BY_GET  # that one only tells
    for path in sorted(BY_GET):
        with pytest.raises(CrossSiteRefused):
            check_site(path, Headers({"sec-fetch-site": "cross-site"}))
