"""Who may come in: keys, scopes, and the file that holds them."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from server.api.gate import needed_scope
from server.api.keys import SCOPES, Key, KeyFile, KeyRing, hash_of, read_keys
from server.cli.key import changing
from server.cli.serve import require_startable
from server.errors import ConfigError
from server.settings import Settings

from ..cli.test_run import cupola
from ..serving import RunningServer, running_server

ASK = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
MASTER = "the-key-of-the-environment"
SECRETS = {"user": "secret-of-user", "scraper": "secret-of-scraper", "operator": "secret-of-operator"}


def put(path: Path, **keys: tuple[str, tuple[str, ...]]) -> None:
    """Write a file of keys: name -> secret and scopes."""
    with changing(path) as kept:
        kept.clear()
        for name, (secret, scopes) in keys.items():
            kept[name] = Key(name, hash_of(secret), tuple(scope for scope in SCOPES if scope in scopes))


def names(ring: KeyRing, *secrets: str) -> list[str]:
    return [key.name for key in ring.known(secrets)]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    put(
        home / "keys.json",
        user=(SECRETS["user"], ("infer",)),
        scraper=(SECRETS["scraper"], ("metrics",)),
        operator=(SECRETS["operator"], ("admin",)),
    )
    with running_server(home, api_key=MASTER) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/health", None),
        ("/health/live", None),
        ("/version", None),
        ("/health/else", "infer"),
        ("/", "infer"),
        ("/openapi.json", "infer"),
        ("/v1/chat/completions", "infer"),
        ("/api/chat", "infer"),
        ("/no/such/path", "infer"),
        ("/openai/loadedmodels", "infer"),
        ("/models/loaded", "infer"),
        ("/metrics", "metrics"),
        ("/metrics/", "metrics"),
        ("/admin", "admin"),
        ("/admin/models", "admin"),
        ("/api/pull", "admin"),
        ("/api/delete", "admin"),
        ("/openai/load/a/b", "admin"),
        ("/openai/unloadall", "admin"),
        ("/openai/download", "admin"),
        ("/models/unload/x", "admin"),
        ("/shutdown", "admin"),
    ],
)
def test_each_path_needs_a_scope(path: str, scope: str | None) -> None:
    assert needed_scope(path) == scope


def test_without_a_key_nothing_but_health_is_told(server: RunningServer) -> None:
    with server.client() as http:
        assert http.get("/health/live").status_code == 200
        assert http.get("/version").status_code == 200
        for method, path in [
            ("GET", "/v1/models"),
            ("GET", "/admin/models"),
            ("GET", "/no/such/path"),
            ("GET", "/metrics"),
            ("OPTIONS", "/v1/models"),
            ("POST", "/v1/chat/completions"),
        ]:
            answer = http.request(method, path, json=ASK if method == "POST" else None)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == 'Bearer realm="cupola"'
            error = answer.json()["error"]
            assert error.keys() == {"message", "type", "param", "code"}
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        head = http.head("/v1/models")
        assert (head.status_code, head.content) == (401, b"")


@pytest.mark.parametrize(
    "headers",
    [
        bearer(SECRETS["user"]),
        {"Authorization": f"bearer   {SECRETS['user']}"},
        {"x-api-key": SECRETS["user"]},
        {"api-key": SECRETS["user"]},
        {"Authorization": "Bearer ollama", "x-api-key": SECRETS["user"]},
        bearer(MASTER),
    ],
)
def test_a_key_is_taken_where_the_clients_of_each_api_put_it(server: RunningServer, headers: dict[str, str]) -> None:
    with server.client() as http:
        answer = http.post("/v1/chat/completions", json=ASK, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    "headers",
    [
        bearer(SECRETS["user"][:-1]),
        bearer(f"{SECRETS['user']}x"),
        {"Authorization": "Bearer"},
        bearer(hash_of(SECRETS["user"])),
        {"Authorization": SECRETS["user"]},
        {"Authorization": f"Basic {SECRETS['user']}"},
        {"x-api-key": "\xfc\xe4"},
        {"x-api-key": "k" * 16_000},
    ],
    ids=["shorter", "longer", "empty", "hash", "no kind", "basic", "latin", "long"],
)
def test_what_is_no_key_is_refused(server: RunningServer, headers: dict[str, str]) -> None:
    with server.client() as http:
        answer = http.get(
            "/v1/models", headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        )
    assert answer.status_code == 401
    assert SECRETS["user"] not in answer.text


def test_a_key_does_what_its_scopes_allow(server: RunningServer) -> None:
    allowed = {
        "/v1/models": {"user"},
        "/admin/models": {"operator"},
        "/metrics": {"scraper"},
    }
    with server.client() as http:
        for path, who in allowed.items():
            for name, secret in SECRETS.items():
                answer = http.get(path, headers=bearer(secret))
                assert (answer.status_code != 403) == (name in who), (path, name)
            assert http.get(path, headers=bearer(MASTER)).status_code not in {401, 403}
        refused = http.get("/admin/models", headers=bearer(SECRETS["user"]))
        both = http.get("/admin/models", headers=bearer(SECRETS["user"]) | {"x-api-key": SECRETS["operator"]})
    assert both.status_code == 200
    assert refused.headers["www-authenticate"] == 'Bearer realm="cupola", error="insufficient_scope", scope="admin"'
    assert refused.json()["error"]["code"] == "insufficient_scope"
    assert "lacks the scope 'admin'" in refused.json()["error"]["message"]


def test_each_api_hears_it_in_its_own_words(server: RunningServer) -> None:
    with server.client() as http:
        anthropic = http.post("/v1/messages", json={}, headers={"x-api-key": "wrong"})
        ollama = http.post("/api/chat", json={})
        pull = http.post("/api/pull", json={"model": "fake"}, headers=bearer(SECRETS["user"]))
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (401, "authentication_error")
    assert (ollama.status_code, list(ollama.json())) == (401, ["error"])
    assert (pull.status_code, "'admin'" in pull.json()["error"]) == (403, True)


def test_the_commands_send_the_key_of_the_environment(server: RunningServer) -> None:
    port = server.url.rpartition(":")[2]
    told = cupola(server.home, "ps", "--json", CUPOLA_PORT=port, CUPOLA_API_KEY=MASTER)
    assert told.returncode == 0
    assert "models" in json.loads(told.stdout)
    refused = cupola(server.home, "ps", CUPOLA_PORT=port)
    assert refused.returncode == 1
    assert "CUPOLA_API_KEY" in refused.stderr
    wrong = cupola(server.home, "ps", CUPOLA_PORT=port, CUPOLA_API_KEY="not-the-key-of-anybody")
    assert (wrong.returncode, "not-the-key" in wrong.stderr) == (1, False)


def test_keys_come_and_go_while_the_server_runs(tmp_path: Path) -> None:
    """As people do it: with the command, beside the server."""
    with running_server(tmp_path) as server, server.client() as http:
        assert http.get("/v1/models").status_code == 200
        secret = cupola(tmp_path, "key", "create", "first").stdout.strip()
        assert http.get("/v1/models").status_code == 401
        assert http.get("/v1/models", headers=bearer(secret)).status_code == 200
        cupola(tmp_path, "key", "revoke", "first")
        assert http.get("/v1/models", headers=bearer(secret)).status_code == 401
        assert http.get("/v1/models").status_code == 401, "a server that had a key does not open again"


def test_a_broken_file_keeps_the_keys_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    put(path, a=("secret-a", ("infer",)))
    ring = KeyRing(Settings(home=tmp_path))
    assert names(ring, "secret-a") == ["a"]
    for broken in ("{", '{"keys": [{"name": "a"}]}', '{"keys": 1}', ""):
        caplog.clear()
        path.write_text(broken)
        assert names(ring, "secret-a") == ["a"]
        assert names(ring, "secret-a") == ["a"]
        [record] = caplog.records  # once, and not with each request
        assert record.levelno == logging.WARNING
        assert f"{path} is not a file of keys" in record.getMessage()
    path.unlink()
    assert names(ring, "secret-a") == ["a"]
    assert ring.guarded
    put(path, b=("secret-b", ("infer",)))
    assert (names(ring, "secret-a"), names(ring, "secret-b")) == ([], ["b"])


def test_a_file_makes_a_server_ask_for_keys_even_if_it_is_empty(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert not KeyRing(settings).guarded
    put(tmp_path / "keys.json")
    assert KeyRing(settings).guarded
    assert not KeyRing(settings).usable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "is not a file of keys"),
        (b"[]", "is not a file of keys"),
        (b'{"kyes": []}', "is not a file of keys"),
        (b'{"keys": [{"name": "a", "sha256": "00", "scopes": []}]}', "is not a file of keys"),
        (b'{"keys": [{"name": "a", "sha256": "%s", "scopes": ["root"]}]}' % (b"0" * 64), "is not a file of keys"),
        (
            b'{"keys": [%s]}' % b",".join([b'{"name": "a", "sha256": "%s", "scopes": []}' % (b"0" * 64)] * 2),
            "two keys of the name 'a'",
        ),
    ],
)
def test_a_broken_file_stops_the_start(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    done = cupola(tmp_path, "serve", "--port", "0")
    assert done.returncode == 78
    assert str(path) in done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_anybody_may_write_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    put(path, a=("secret", ("infer",)))
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_keys(path)
    path.chmod(0o644)
    assert [key.name for key in read_keys(path).keys] == ["a"]
    assert read_keys(tmp_path / "none.json") == KeyFile()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes among its files")
def test_a_pipe_in_place_of_the_file_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys.json")
    with pytest.raises(ConfigError, match="is not a file"):
        read_keys(tmp_path / "keys.json")


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file of keys at .*keys\.json"):
        KeyRing(Settings(home=tmp_path, keys_file=tmp_path / "other" / "keys.json"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "", "example.org", "127.0.0.1.example.org"])
def test_beyond_loopback_a_server_without_a_key_does_not_start(tmp_path: Path, host: str) -> None:
    done = cupola(tmp_path, "serve", "--port", "0", "--host", host)
    assert done.returncode == 78
    assert done.stderr.startswith(f"Error: Refusing to listen on {host or 'every address'} without an API key")
    assert "cupola key create" in done.stderr
    put(tmp_path / "keys.json")
    with pytest.raises(ConfigError, match="without an API key"):
        require_startable(Settings(home=tmp_path, host=host))


def test_beyond_loopback_a_server_with_a_key_starts(tmp_path: Path) -> None:
    assert require_startable(Settings(home=tmp_path, host="0.0.0.0", api_key=SecretStr(MASTER)))
    put(tmp_path / "keys.json", a=("secret", ("metrics",)))
    assert require_startable(Settings(home=tmp_path, host="::"))
    assert not require_startable(Settings(home=tmp_path / "other"))
