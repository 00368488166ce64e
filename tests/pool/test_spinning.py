"""Which workers burn a core while they wait."""

from pathlib import Path
from typing import Any

from ..serving import RunningServer, add_fake_model, pull, running_server


def spinning(server: RunningServer) -> set[str]:
    return {resident["id"].partition("@")[0] for resident in server.residents() if resident["spins"]}


def asked(model: str, tokens: int) -> dict[str, Any]:
    said = [{"role": "user", "content": "Hello"}]
    return {"model": model, "messages": said, "max_tokens": tokens, "stream": tokens > 1}


def test_two_that_run_at_once_do_not_spin(tmp_path: Path) -> None:
    for name in ("one", "two"):
        add_fake_model(tmp_path, name, answer_tokens=1000, step_seconds=0.05)
    pull(tmp_path, "one", "two")
    chat = "/v1/chat/completions"
    with running_server(tmp_path) as server, server.client() as http, server.client() as other:
        for name in ("one", "two"):
            assert http.post(chat, json=asked(name, 1)).status_code == 200
        with http.stream("POST", chat, json=asked("one", 400)) as first:
            heard = first.iter_lines()  # a generator that is let go ends its stream
            next(heard)
            assert spinning(server) == {"one", "two"}  # it is alone
            with other.stream("POST", chat, json=asked("two", 400)) as second:
                also_heard = second.iter_lines()
                next(also_heard)
                assert spinning(server) == set()
