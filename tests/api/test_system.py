"""GET /v1/system over a real socket."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from server.hardware.probe import read_system

from ..serving import RunningServer, running_server

GPU = """name, memory.total [MiB], memory.free [MiB], driver_version
NVIDIA GeForce RTX 5080, 16303 MiB, 10379 MiB, 590.48.01"""


def test_the_server_says_what_the_command_says(fake_server: RunningServer) -> None:
    with fake_server.client() as http:
        served = http.get("/v1/system").json()
    here = msgspec.to_builtins(read_system(fake_server.home))
    for changing in ("available", "usable"):
        assert served["memory"].pop(changing) == pytest.approx(here["memory"].pop(changing), rel=0.2)
    assert served.pop("disk_free") == pytest.approx(here.pop("disk_free"), rel=0.2)
    assert served == msgspec.json.decode(msgspec.json.encode(here))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the tool")
def test_a_flood_of_requests_shares_a_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, starts = tmp_path / "nvidia-smi", tmp_path / "starts"
    script.write_text(f"#!/bin/sh\necho started >> {starts}\necho '{GPU}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with running_server(tmp_path / "home") as server, server.client() as http, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: http.get("/v1/system").json(), range(60)))
    assert all(answer == answers[0] for answer in answers)
    assert starts.read_text().count("started") <= 2, "one of them when the server starts"
    [device] = answers[0]["devices"]
    assert (device["name"], device["memory"], device["state"]) == ("NVIDIA GeForce RTX 5080", 16303 << 20, "no-engine")
    assert device["fix"].endswith("pip install 'cupola[cuda]'")
