"""The units that service managers read, and what the server tells the manager."""

import configparser
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import Settings

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "cupola.service"
MOST_EXPOSURE = 3.0
SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
COMMAND = ["-P", "-m", "server", "serve"]


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[method-assign,assignment]
    parsed.read(UNIT)
    return parsed


def test_the_unit_starts_the_server_and_waits_longer_than_it_takes() -> None:
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].split()[1:] == COMMAND
    assert float(service["TimeoutStopSec"]) > Settings().shutdown_seconds
    assert service["RestartPreventExitStatus"] == "78"


@SYSTEMD
def test_the_unit_is_hardened() -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = re.search(r"exposure level for cupola.service: ([\d.]+)", result.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= MOST_EXPOSURE


@SYSTEMD
@pytest.mark.parametrize("drop_in", [False, True])
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path, drop_in: bool) -> None:
    """The program is where it is on this machine; all else is the unit's own text."""
    copy = tmp_path / "cupola.service"
    copy.write_text(UNIT.read_text().replace("/opt/cupola/bin/python", sys.executable))
    if drop_in:
        (tmp_path / "cupola.service.d").mkdir()
        shutil.copy(DEPLOY / "systemd" / "gpu.conf", tmp_path / "cupola.service.d")
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@SYSTEMD
def test_a_misspelt_directive_would_be_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "cupola.service"
    text = UNIT.read_text().replace("/opt/cupola/bin/python", sys.executable)
    copy.write_text(text.replace("WatchdogSec=", "WatchdogSecond="))
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert "WatchdogSecond" in result.stderr


def test_the_launchd_agent_starts_the_server_again_only_when_it_failed() -> None:
    agent = plistlib.loads((DEPLOY / "launchd" / "local.cupola.plist").read_bytes())
    assert agent["ProgramArguments"][1:] == COMMAND
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["ExitTimeOut"] > Settings().shutdown_seconds
    assert agent["Umask"] == 0o077
    assert {name.removeprefix("CUPOLA_").lower() for name in agent["EnvironmentVariables"]} <= set(
        Settings.model_fields
    )
