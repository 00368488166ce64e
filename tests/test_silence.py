"""A server calls nobody unless it is asked to download something: every process of it is listened to."""

from pathlib import Path

import pytest

from .serving import add_fake_model, pull, running_server

# Python tells a hook of every connection and of every name that is looked up, in whichever library.
HOOK = """
import sys


def heard(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo"}:
        with open(%r, "a") as file:
            file.write(f"{event} {arguments[-4:]}\\n")


sys.addaudithook(heard)
"""


def test_a_server_calls_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, said = tmp_path / "home", tmp_path / "said"
    add_fake_model(home, "fake")
    pull(home, "fake")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(
        HOOK % str(said) + f"open({str(said)!r}, 'a').write('here\\n')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hooks"), prepend=":")
    with running_server(home, offline="false") as server, server.client() as http:
        ask = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        assert http.post("/v1/chat/completions", json=ask).status_code == 200
        for path in ("/v1/models", "/v1/system", "/metrics", "/foundry/list", "/api/tags", "/admin/models", "/health"):
            assert http.get(path).status_code == 200, path
        assert http.post("/admin/reload", json={}).status_code == 200
    heard = said.read_text().splitlines()
    assert len(heard) >= 3  # the server, a worker and a render process were listened to
    assert set(heard) == {"here"}
