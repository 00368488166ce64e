"""The server in the background: one at a time, found again, and ended whatever it does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from server import service
from server.child.platform import birth
from server.environment import child_environment
from server.errors import EXIT_CONFIG, ConfigError, Unavailable
from server.settings import Settings

from .serving import add_fake_model, pull


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A home whose service has ended when the test has."""
    found = Settings(home=tmp_path / "home", port=0, shutdown_seconds=1)
    yield found
    service.stop(found)


def record(settings: Settings, pid: int, born: str) -> None:
    path = service.record_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(service.Record(pid, born, "127.0.0.1", 9)))


def test_it_starts_is_found_and_ends(settings: Settings) -> None:
    assert service.status(settings) is None
    running = service.start(settings)
    assert service.answers(running.url)
    assert service.status(settings) == running
    assert service.start(settings) == running
    assert service.addressed(Settings(home=settings.home)).url == running.url
    assert os.getsid(running.pid) == running.pid  # the end of a terminal is not its end
    assert "Cupola serves on" in running.log.read_text()
    assert running.log.stat().st_mode & 0o077 == 0
    assert service.stop(settings)
    assert service.status(settings) is None
    assert not service.answers(running.url)
    assert not service.stop(settings)


def test_models_are_loaded_at_the_start(settings: Settings) -> None:
    add_fake_model(settings.home, "mine")
    pull(settings.home, "mine")
    assert service.answers(service.start(settings, ("mine",)).url)
    service.stop(settings)
    with pytest.raises(Unavailable, match="Model 'nobody' does not exist"):
        service.start(settings, ("nobody",))


def test_of_two_that_start_at_once_one_wins(settings: Settings) -> None:
    command = [sys.executable, "-P", "-m", "server", "service", "start", "--port", "0", "--json"]
    environment = child_environment() | {"CUPOLA_HOME": str(settings.home)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=90)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0]["pid"] == answers[1]["pid"]
    assert sorted(answer["started"] for answer in answers) == [False, True]


def test_a_server_that_was_killed_is_not_running_and_starts_again(settings: Settings) -> None:
    first = service.start(settings)
    os.kill(first.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first.pid)] if psutil.pid_exists(first.pid) else [], timeout=0.1)
    assert service.status(settings) is None
    assert service.start(settings).pid != first.pid


def test_a_home_has_one_service_also_after_a_start_that_was_killed(settings: Settings) -> None:
    first = service.start(settings)
    path = service.record_path(settings)
    command = [sys.executable, "-P", "-m", "server", "serve", "--port", "0", "--record", str(path)]
    environment = child_environment() | {"CUPOLA_HOME": str(settings.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode not in {0, EXIT_CONFIG}
    assert f"runs already, as process {first.pid}" in done.stderr
    assert service.status(settings) == first


def test_a_process_that_has_got_the_number_meanwhile_is_left_alone(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        record(settings, stranger.pid, "another birth")
        assert service.status(settings) is None
        assert not service.stop(settings)
        assert stranger.poll() is None
        stranger.kill()


def test_half_a_record_is_none(settings: Settings) -> None:
    record(settings, 1, "")
    path = service.record_path(settings)
    whole = path.read_bytes()
    for spoiled in (whole[:-5], whole.replace(b":1,", b":-1,"), whole.replace(b'""', b'"\xff"')):
        path.write_bytes(spoiled)
        assert service.status(settings) is None


def test_who_does_not_end_is_killed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STOP_SECONDS", 0.3)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()  # it ignores the signal from now on
        record(settings, deaf.pid, birth(deaf.pid) or "")
        assert service.stop(settings)
        assert deaf.wait(5) == -signal.SIGKILL


def test_a_start_that_fails_says_why_and_leaves_nothing(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"(?s)exit status 78.*Refusing to listen"):
        service.start(settings.model_copy(update={"host": "0.0.0.0"}))
    running = service.start(settings)
    port = int(running.url.rpartition(":")[2])
    other = Settings(home=settings.home.with_name("other"), port=port)
    with pytest.raises(ConfigError, match="Cannot listen on"):
        service.start(other)
    assert service.status(other) is None


def test_a_large_log_is_put_aside(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOG_BYTES", 10)
    log = service.log_path(settings)
    log.parent.mkdir(parents=True)
    log.write_text("what was said before\n")
    service.start(settings)
    assert log.with_name("cupola.log.1").read_text() == "what was said before\n"
    assert "before" not in log.read_text()


def test_a_log_that_grows_large_is_put_aside_while_the_server_runs(tmp_path: Path) -> None:
    log = tmp_path / "cupola.log"
    code = (
        "import logging, sys; from pathlib import Path; from server import logs\n"
        "logs.LARGEST = 2000\n"
        f"logs.configure('info', file=Path({str(log)!r}))\n"
        "for number in range(40): logging.info('line %d', number)\n"
        "print('printed'); sys.stderr.write('said\\n')"
    )
    with log.open("ab") as output:
        subprocess.run([sys.executable, "-P", "-c", code], stdout=output, stderr=output, check=True)
    before, after = log.with_name("cupola.log.1").read_text(), log.read_text()
    assert max(len(before), len(after)) < 2200
    assert '"line 39"' in before + after
    assert {"said", "printed"} <= set(after.splitlines())
    assert log.stat().st_mode & 0o077 == 0


def test_last_lines_are_those_since(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert service.last_lines(log, 3) == []
    log.write_text("".join(f"{number}\n" for number in range(10)))
    assert service.last_lines(log, 3) == ["7", "8", "9"]
    assert service.last_lines(log, 30, begin=18) == ["9"]


def test_the_server_gets_the_settings_and_no_copy_of_a_secret(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, slots=3, hf_token="hf_secret", offline=True)
    environment = service.environment_of(settings)
    assert environment["CUPOLA_HOME"] == str(tmp_path)
    assert (environment["CUPOLA_SLOTS"], environment["CUPOLA_OFFLINE"]) == ("3", "True")
    assert "CUPOLA_HF_TOKEN" not in environment
    assert "hf_secret" not in environment.values()
