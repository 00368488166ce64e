"""`cupola service logs load unload reload ps verify bench` as typed."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.cli import ps
from server.cli.bench import numbers
from server.cli.serve import listen
from server.cli.tables import aligned, markdown
from server.environment import child_environment
from server.errors import ConfigError, InvalidValue
from server.settings import Settings
from server.tune.bench import Result, Trial
from server.tune.load_test import Order, Stream, percentiles, refusal, report

from ..serving import add_fake_model, pull, running_server
from ..waiting import wait_for
from .test_run import CUPOLA, cupola

NOT_RUNNING = 3


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose service has ended when the test has."""
    add_fake_model(tmp_path, "mine")
    pull(tmp_path, "mine")
    yield tmp_path
    cupola(tmp_path, "service", "stop")


def test_the_service_from_start_to_stop(home: Path) -> None:
    assert cupola(home, "service", "status").returncode == NOT_RUNNING
    assert "never started" in cupola(home, "logs").stderr
    started = json.loads(cupola(home, "service", "start", "mine", "--port", "0", "--json").stdout)
    assert (started["running"], started["answers"], started["started"]) == (True, True, True)
    assert "already" in cupola(home, "service", "start").stdout
    status = cupola(home, "service", "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["pid"]) == (0, started["pid"])
    # The other commands find it without being told its port.
    assert "mine@weightless" in cupola(home, "ps").stdout
    assert "Cupola serves on" in cupola(home, "logs").stdout
    assert json.loads(cupola(home, "logs", "-n", "1", "--json").stdout)["line"]
    again = json.loads(cupola(home, "service", "restart", "--port", "0", "--json").stdout)
    assert again["pid"] != started["pid"]
    assert not again["url"].endswith(f":{Settings().port}"), "it listens where the restart was told to"
    assert json.loads(cupola(home, "service", "stop", "--json").stdout) == {"stopped": True}
    assert "does not run" in cupola(home, "service", "stop").stdout


def test_a_service_that_cannot_start_says_why(home: Path) -> None:
    done = cupola(home, "service", "start", "--host", "0.0.0.0")
    assert done.returncode == 78
    assert "Refusing to listen" in done.stderr


def test_an_address_that_cannot_be_had_is_told_from_a_port() -> None:
    with pytest.raises(ConfigError, match="Choose an address of this machine with --host"):
        listen(Settings(host="192.0.2.1", port=0))  # of a network that is for documents
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="Choose another port with"):
        listen(Settings(host="127.0.0.1", port=taken.getsockname()[1]))


@pytest.mark.parametrize("setting", ["CUPOLA_PINNED", "CUPOLA_PRELOAD"])
def test_a_model_that_a_setting_names_and_is_not_here_is_a_wrong_setting(home: Path, setting: str) -> None:
    done = cupola(home, "serve", "--port", "0", **{setting: "nobody"})
    assert (done.returncode, f"{setting}: Model 'nobody' does not exist" in done.stderr) == (78, True)
    done = cupola(home, "serve", "--port", "0", "nobody")
    assert (done.returncode, done.stderr.startswith("Error: Model 'nobody' does not exist")) == (1, True)


def test_a_server_that_was_started_otherwise_is_told_of_and_left_alone(home: Path) -> None:
    with running_server(home) as server:
        port = server.url.rpartition(":")[2]
        status = cupola(home, "service", "status", CUPOLA_PORT=port)
        assert status.returncode == NOT_RUNNING
        assert "started otherwise" in status.stdout
        assert "Start it with" not in status.stdout  # on a port that is taken
        cupola(home, "service", "stop", CUPOLA_PORT=port)
        assert server.process.poll() is None


def test_the_log_is_followed_into_a_new_file(home: Path) -> None:
    log = home / "run" / "cupola.log"
    log.parent.mkdir()
    log.write_text("first\n")
    environment = child_environment() | {"CUPOLA_HOME": str(home)}
    command = [*CUPOLA, "logs", "--follow"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        with log.open("a") as file:
            file.write("second\nhalf a ")
        assert process.stdout.readline() == "second\n"
        with log.open("a") as file:
            file.write("line\n")
        assert process.stdout.readline() == "half a line\n"
        log.write_text("new\n")
        assert process.stdout.readline() == "new\n"
        process.terminate()


def test_load_unload_and_reload_change_what_the_server_holds(home: Path) -> None:
    with running_server(home) as server:
        port = server.url.rpartition(":")[2]
        loaded = cupola(home, "load", "mine", "--keep-alive", "10m", CUPOLA_PORT=port)
        assert (loaded.returncode, loaded.stdout) == (0, "mine@weightless is loaded.\n")
        (shown,) = json.loads(cupola(home, "ps", "--json", CUPOLA_PORT=port).stdout)["models"]
        assert 500 < shown["unload_in"] <= 600
        again = json.loads(cupola(home, "load", "mine", "--keep-alive", "-1", "--json", CUPOLA_PORT=port).stdout)
        assert again["unload_in"] is None
        assert "never\n" in cupola(home, "ps", CUPOLA_PORT=port).stdout
        assert cupola(home, "unload", "mine", CUPOLA_PORT=port).stdout == "mine is unloaded.\n"
        assert "was not loaded" in cupola(home, "unload", "mine", CUPOLA_PORT=port).stdout
        add_fake_model(home, "new")
        assert "added new" in cupola(home, "reload", CUPOLA_PORT=port).stdout
        assert "nothing changed" in cupola(home, "reload", CUPOLA_PORT=port).stdout
        unknown = cupola(home, "load", "nobody", CUPOLA_PORT=port)
        assert (unknown.returncode, "Model 'nobody' does not exist" in unknown.stderr) == (1, True)
        (home / "models.yaml").write_text("models: 7")
        broken = cupola(home, "reload", CUPOLA_PORT=port)
        assert (broken.returncode, "Input should be a list" in broken.stderr) == (1, True)


def test_a_model_in_use_is_unloaded_by_force_only(home: Path) -> None:
    add_fake_model(home, "slow", step_seconds=0.02)
    pull(home, "slow")
    with running_server(home) as server, server.client() as client:
        port = server.url.rpartition(":")[2]
        body = {"model": "slow", "prompt": "x", "max_tokens": 1500, "ignore_eos": True, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert "in use\n" in cupola(home, "ps", CUPOLA_PORT=port).stdout
            refused = cupola(home, "unload", "slow", CUPOLA_PORT=port)
            assert (refused.returncode, "force" in refused.stderr) == (1, True)
            assert cupola(home, "unload", "slow", "--force", CUPOLA_PORT=port).returncode == 0


@pytest.mark.parametrize("arguments", [("ps",), ("load", "mine"), ("unload", "mine"), ("reload",)])
def test_without_a_server_it_is_said_what_to_do(home: Path, arguments: tuple[str, ...]) -> None:
    done = cupola(home, *arguments, CUPOLA_PORT="9")
    assert done.returncode == 1
    assert "No Cupola server answers on http://127.0.0.1:9" in done.stderr


def test_ps_says_when_a_model_goes() -> None:
    resident = {"id": "mine", "state": "asleep", "memory": 2_000_000, "users": 0, "queue": 3, "unload_in": 90.0}
    assert ps.row(resident, 20).startswith(f"{'mine':<20} asleep")
    assert ps.row(resident, 20).split() == ["mine", "asleep", "2.0", "MB", "0", "3", "in", "90", "s"]
    assert ps.row(resident | {"unload_in": 3700.0}, 20).endswith("in 01:01:40")
    assert ps.row(resident | {"unload_in": None}, 20).endswith("never")
    assert ps.row(resident | {"users": 1}, 20).endswith("in use")
    assert " 50% " in ps.row(resident | {"state": "loading", "progress": 0.5}, 20)


def test_verify_finds_damage_and_loss(home: Path) -> None:
    assert json.loads(cupola(home, "verify", "mine", "--json").stdout)["whole"] is True
    assert "is not here" in cupola(home, "verify", "smollm2").stderr
    (blob,) = (home / "blobs").iterdir()
    blob.chmod(0o600)
    content = blob.read_bytes()
    for spoilt, word in ((b"!" + content[1:], "damaged"), (content[1:], "damaged"), (None, "gone")):
        blob.write_bytes(spoilt) if spoilt is not None else blob.unlink()
        done = cupola(home, "verify")
        assert done.returncode == 1
        assert f"is {word}" in done.stdout
        assert "cupola pull mine@weightless" in done.stdout
    assert cupola(home, "verify", "--json").returncode == 1


def test_bench_measures_prompts_and_tokens(home: Path) -> None:
    done = cupola(home, "bench", "mine", "--prompt", "16,32", "--generate", "8", "--repeat", "2", "--json")
    results = json.loads(done.stdout)["results"]
    assert [result["test"] for result in results] == ["pp16", "pp32", "tg8"]
    assert all(len(result["samples"]) == 2 and result["tokens_per_second"] > 0 for result in results)
    table = cupola(home, "bench", "mine", "--prompt", "16", "--generate", "8", "--threads", "1,2", "--markdown").stdout
    assert len(table.splitlines()) == 2 + 4
    assert "tg8" in table
    assert "±" in table
    for wrong in (("--prompt", "many"), ("--prompt", "0"), ("--prompt", "100000")):
        assert cupola(home, "bench", "mine", *wrong).returncode == 1


def test_bench_loads_a_server_of_its_own(home: Path) -> None:
    options = ("--load", "--concurrency", "1,3", "--requests", "6", "--generate", "8", "--json")
    done = cupola(home, "bench", "mine", *options, CUPOLA_PORT="9")
    one, three = json.loads(done.stdout)["results"]
    assert (one["concurrency"], three["concurrency"]) == (1, 3)
    assert one["requests"] == 6
    assert one["tokens"] == 6 * 8
    assert one["errors"] == {}
    assert 0 < one["first_token"]["p50"] <= one["first_token"]["p99"] <= one["end_to_end"]["p99"]


def test_bench_counts_what_a_server_refuses(home: Path) -> None:
    with running_server(home) as server:
        options = ("--load", "--url", server.url, "--requests", "2", "--concurrency", "1", "--json")
        done = cupola(home, "bench", "nobody", *options)
    assert done.returncode == 1
    assert json.loads(done.stdout)["results"][0]["errors"] == {"status 404 model_not_found": 2}


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_what_bench_tells_meanwhile_is_gone_before_its_table(home: Path) -> None:
    terminal, stderr = os.openpty()
    environment = child_environment() | {"CUPOLA_HOME": str(home)}
    command = [*CUPOLA, "bench", "mine", "--prompt", "4", "--generate", "4", "--repeat", "1"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True)
    os.close(stderr)
    told = os.read(terminal, 65536)
    os.close(terminal)
    assert b"tg4, 1" in told
    assert told.endswith(b"\r\x1b[K")
    assert done.stdout.startswith("MODEL")


def test_bench_says_that_no_server_answers(home: Path) -> None:
    done = cupola(home, "bench", "mine", "--load", "--url", "http://127.0.0.1:1", "--requests", "2")
    assert (done.returncode, done.stderr) == (1, "Error: No server answers on http://127.0.0.1:1.\n")


def test_no_prompt_of_a_load_is_in_the_cache_already(home: Path) -> None:
    with running_server(home) as server:
        options = ("--load", "--url", server.url, "--requests", "2", "--prompt", "16", "--generate", "2")
        for _ in range(2):
            cupola(home, "bench", "mine", *options, "--concurrency", "1,2")
        with server.client() as client:
            metrics = client.get("/metrics").text
    cached = re.search(r'^cupola_cached_tokens_total\{model="mine"\} (\S+)$', metrics, re.MULTILINE)
    read = re.search(r'^cupola_prompt_tokens_total\{model="mine"\} (\S+)$', metrics, re.MULTILINE)
    assert cached is not None
    assert read is not None
    assert float(cached[1]) < float(read[1]) / 2


def test_what_a_server_answers_instead_of_a_stream() -> None:
    assert refusal(404, b'{"error": {"code": "model_not_found"}}') == "status 404 model_not_found"
    assert [refusal(502, content) for content in (b"<html>", b"[]", b'{"error": "no"}')] == ["status 502"] * 3


def test_numbers_of_a_load_are_those_of_its_streams() -> None:
    order = Order("http://here", "mine", 2, 3, 1, 1)
    streams = [
        Stream([0.1, 0.2, 0.4], 0.5, 10, 3),
        Stream([0.3, 0.4], 0.6, 10, 2),
        Stream(seconds=9.0, error="status 503"),
    ]
    found = report(order, streams, 2.0)
    assert found.errors == {"status 503": 1}
    assert (found.tokens, found.tokens_per_second, found.requests_per_second) == (5, 2.5, 1.0)
    assert found.first_token == {"p50": 0.1, "p90": 0.3, "p99": 0.3}
    assert found.inter_token["p50"] == pytest.approx(0.1)
    assert found.end_to_end["p99"] == 0.6
    assert percentiles([]) == {}
    assert percentiles(list(range(1, 101))) == {"p50": 50, "p90": 90, "p99": 99}


def test_tables_and_numbers() -> None:
    result = Result(Trial("generate", 4), (1.0, 3.0))
    assert result.mean == 2.0
    assert result.deviation == pytest.approx(2**0.5)
    assert Result(Trial("prompt", 4), (1.0,)).deviation == 0.0
    rows = [("x", "1"), ("long", "22")]
    assert list(aligned(("A", "NUMBER"), rows)) == ["A     NUMBER", "x          1", "long      22"]
    assert list(markdown(("A",), [("x",)])) == ["| a |", "| --- |", "| x |"]
    assert numbers("1, 2") == [1, 2]
    with pytest.raises(InvalidValue):
        numbers("1;2")


def test_bench_ends_its_server_when_it_is_ended(home: Path) -> None:
    """Found by the child processes that a killed `cupola bench` leaves: none."""
    environment = child_environment() | {"CUPOLA_HOME": str(home), "CUPOLA_PORT": "9", "TMPDIR": str(home)}
    command = [sys.executable, "-P", "-m", "server", "bench", "mine", "--load", "--requests", "1000000"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: any(home.glob("cupola-*/service.json")), 30)
        pid = json.loads(next(home.glob("cupola-*/service.json")).read_text())["pid"]
        process.terminate()
        process.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
