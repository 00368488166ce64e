"""Which Host headers are right, and which pages may load and unload models."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from starlette.responses import PlainTextResponse

from server.api.limits import Border
from server.settings import Settings

from ..serving import RunningServer, running_server

CHANGING = [
    "/openai/load/fake",
    "/openai/unload/fake",
    "/openai/unloadall",
    "/openai/setgpudevice/0",
    "/models/load/fake",
    "/models/unload/fake",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home"), hosts="Edge.local") as running:
        yield running


@pytest.mark.parametrize(
    ("listening", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.5:80", 200),
        ("127.0.0.1", "192.168.1.5", 403),
        ("127.0.0.1", "edge.local", 200),
        ("127.0.0.1", "not.edge.local", 403),
        ("192.168.1.5", "192.168.1.5:5272", 200),
        ("192.168.1.5", "192.168.1.6:5272", 403),
        ("0.0.0.0", "192.168.1.6:5272", 200),
        ("0.0.0.0", "[2001:db8::1]:5272", 200),
        ("0.0.0.0", "localhost", 200),
        ("0.0.0.0", "EDGE.local.:5272", 200),
        ("0.0.0.0", "rebound.example", 403),
        ("0.0.0.0", "192.168.1.6.rebound.example", 403),
        ("0.0.0.0", "3232235782", 403),
        ("0.0.0.0", "0xc0a80106", 403),
        ("::", "10.0.0.1", 200),
        ("", "10.0.0.1", 200),
        ("", "rebound.example", 403),
    ],
)
def test_the_host_is_one_by_which_the_server_is_meant(listening: str, host: str, status: int) -> None:
    """Without a socket: tests listen on loopback only."""

    async def ask() -> int:
        border = Border(PlainTextResponse("in"), Settings(host=listening, hosts=("edge.local",)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(border)) as client:
            return (await client.get("http://server/", headers={"Host": host})).status_code

    assert asyncio.run(ask()) == status


def test_a_name_of_the_settings_is_served(server: RunningServer) -> None:
    with server.client() as http:
        assert http.get("/version", headers={"Host": "edge.local:5272"}).status_code == 200
        refused = http.get("/version", headers={"Host": "edge.example"})
    assert refused.status_code == 403
    assert "CUPOLA_HOSTS" in refused.json()["error"]["message"]


@pytest.mark.parametrize("path", CHANGING)
def test_another_sites_page_cannot_change_what_is_loaded(server: RunningServer, path: str) -> None:
    with server.client() as http:
        for site in ("cross-site", "same-site", "Cross-Site"):
            refused = http.get(path, headers={"Sec-Fetch-Site": site})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_site_refused")
        doubled = http.get(path, headers=[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")])
        assert doubled.status_code == 403
        for fitting in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            assert http.get(path, headers=fitting).status_code != 403


def test_what_only_reads_may_be_read(server: RunningServer) -> None:
    """No CORS header is sent, so the other page does not see the answer."""
    with server.client() as http:
        answer = http.get("/v1/models", headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://a.example"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
