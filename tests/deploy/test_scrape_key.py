"""Who asks a server with keys by itself: Prometheus needs one of the scope `metrics`, the health check none."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from server.environment import child_environment

from ..serving import running_server
from ..waiting import wait_for
from .prometheus import configured, running_prometheus


def created(home: Path, name: str, scopes: str) -> str:
    """A key as `cupola key create` prints it."""
    command = [sys.executable, "-P", "-m", "server", "key", "create", name, "--scopes", scopes]
    environment = child_environment() | {"CUPOLA_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("scopes", "up"), [("metrics", 1.0), ("infer", 0.0)])
def test_prometheus_scrapes_with_a_key_of_its_scope(tmp_path: Path, scopes: str, up: float) -> None:
    home = tmp_path / "home"
    key = created(home, "prometheus", scopes)
    with running_server(home) as server:
        config = configured(tmp_path, server.url.removeprefix("http://"), key, interval="500ms")
        with running_prometheus(config) as prometheus:
            wait_for(lambda: prometheus.values('up{job="cupola"}') == [up], 30, 0.25)
        with httpx.Client(trust_env=False) as http:
            assert http.get(f"{server.url}/metrics").status_code == httpx.codes.UNAUTHORIZED


def test_the_health_check_needs_no_key(tmp_path: Path) -> None:
    with running_server(tmp_path, api_key="a-key-of-enough-length") as server:
        with httpx.Client(trust_env=False) as http:
            assert http.get(f"{server.url}/v1/models").status_code == httpx.codes.UNAUTHORIZED
        command = [sys.executable, "-P", "-m", "server.healthcheck"]
        environment = child_environment() | {"CUPOLA_PORT": server.url.rpartition(":")[2]}
        assert subprocess.run(command, env=environment, check=False).returncode == 0
