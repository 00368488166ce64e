"""compose.yaml: nothing reaches beyond this device or has more rights than it needs, and what it names is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import Settings

from .dockerfile import last, parse
from .prometheus import DEPLOY, KEY_FILE

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NAMES = list(SERVICES)


@pytest.mark.parametrize("name", NAMES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "user", "devices"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    for volume in service["volumes"]:
        source, target, *rights = volume.split(":")
        assert source in COMPOSE["volumes"] or ((ROOT / source).exists() and rights == ["ro"]), volume
        assert target.startswith("/")
    assert set(service.get("depends_on", [])) <= set(SERVICES)


def test_secrets_are_no_part_of_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "/secrets/" in ignored
    values = [str(value) for service in SERVICES.values() for value in service.get("environment", {}).values()]
    assert not [value for value in values if re.search(r"[A-Za-z0-9_-]{24,}", value.replace("/run/secrets/", ""))]


def test_the_server_is_as_the_image_and_prometheus_expect() -> None:
    service = SERVICES["cupola"]
    instructions = parse((ROOT / "Dockerfile").read_text())
    volume, port = last(instructions, "VOLUME"), last(instructions, "EXPOSE")
    assert volume is not None
    assert port is not None
    assert [place.split(":")[1] for place in service["volumes"]] == [volume.value]
    assert service["ports"] == [f"127.0.0.1:{port.value}:{port.value}"]
    assert int(port.value) == Settings().port
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().shutdown_seconds
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"cupola:{port.value}"]}]
    assert service["environment"]["CUPOLA_HOSTS"] == "cupola"
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert f"/run/secrets/{secret}" == KEY_FILE == scrape["authorization"]["credentials_file"]
    assert {name.removeprefix("CUPOLA_").lower() for name in service["environment"]} <= set(Settings.model_fields)


def test_prometheus_reads_what_is_mounted() -> None:
    command = " ".join(SERVICES["prometheus"]["command"])
    assert "--config.file=/etc/prometheus/prometheus.yml" in command
    assert "./deploy/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
    assert "prometheus:/prometheus" in SERVICES["prometheus"]["volumes"]
    assert "--storage.tsdb.path=/prometheus" in command
