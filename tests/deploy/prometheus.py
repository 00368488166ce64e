"""A real Prometheus: found or fetched, started over the configuration of `deploy/`, asked."""

import math
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import platformdirs
import pytest
from filelock import FileLock

from ..waiting import wait_for

DEPLOY = Path(__file__).parent.parent.parent / "deploy" / "prometheus"
KEY_FILE = "/run/secrets/cupola_metrics_key"


def program(name: str) -> Path:
    """`prometheus` or `promtool`: an installed one, or Debian's, unpacked into the user's cache once."""
    installed = shutil.which(name)
    if installed:
        return Path(installed)
    unpacked = Path(platformdirs.user_cache_dir("cupola-tests-prometheus"))
    found = unpacked / "usr" / "bin" / name
    if not found.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip("Prometheus is not installed, and there is no apt-get to fetch it")
        unpacked.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{unpacked}.lock"):
            if not found.exists():
                fetch(unpacked)
    return found


def fetch(unpacked: Path) -> None:
    """Nothing is installed: the package is downloaded and its files are taken out."""
    downloads = unpacked / "download"
    downloads.mkdir(exist_ok=True)
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
    result = subprocess.run(command, cwd=downloads, capture_output=True, text=True, check=False)
    if result.returncode:  # a machine that is new has no lists yet
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        result = subprocess.run(command, cwd=downloads, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"Prometheus cannot be fetched: {result.stderr.strip()[-200:]}")
    (package,) = downloads.glob("prometheus_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    package.unlink()


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def configured(folder: Path, target: str = "cupola:5272", key: str = "none", interval: str = "15s") -> Path:
    """The configuration of `deploy/`, with this server, key and pace in place of its own."""
    key_file = folder / "key"
    key_file.write_text(key)
    shutil.copy(DEPLOY / "alerts.yml", folder)
    text = (DEPLOY / "prometheus.yml").read_text()
    for ours, theirs in (
        (KEY_FILE, str(key_file)),
        ("cupola:5272", target),
        ("_interval: 15s", f"_interval: {interval}"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    config = folder / "prometheus.yml"
    config.write_text(text)
    return config


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one, by its address."""

    url: str

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        with httpx.Client(base_url=f"{self.url}/api/v1/", trust_env=False, timeout=20) as http:
            answer = http.get(path, params=parameters).json()
        assert answer["status"] == "success", (path, parameters, answer)
        data: dict[str, Any] = answer["data"]
        return data

    def values(self, query: str) -> list[float]:
        """What the series of an instant query are now; those that are no number, as 0/0, are left out."""
        result = self.ask("query", query=query)["result"]
        return [value for series in result if not math.isnan(value := float(series["value"][1]))]


@contextmanager
def running_prometheus(config: Path) -> Iterator[Prometheus]:
    """Prometheus on a free port of the loopback; it has ended when the block is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = config.parent / "prometheus.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={config.parent / 'data'}",
                f"--web.listen-address={address}",
            ],
            cwd=config.parent,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: ready(f"http://{address}") or process.poll() is not None, 30, 0.1)
        assert process.poll() is None, log.read_text()
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
