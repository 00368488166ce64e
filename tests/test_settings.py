"""Defaults, the file, the environment, flags: which one counts, and what is said of a wrong one."""

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.settings import Origin, Settings, load_settings, read_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> Path:
    path = home / "config.yaml"
    path.write_text(text)
    return path


def test_each_place_gives_way_to_the_next(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home, "# mine\nslots: 3\nport: 4001\ncontext: 512\n")
    monkeypatch.setenv("CUPOLA_PORT", "4002")
    monkeypatch.setenv("CUPOLA_CONTEXT", "1024")
    effective = read_settings(context=2048, host=None)
    settings, origins = effective.settings, effective.origins
    assert (settings.max_queue, settings.slots, settings.port, settings.context) == (256, 3, 4002, 2048)
    assert origins["max_queue"] == Origin("default")
    assert origins["slots"] == Origin("file", f"{path}, line 2")
    assert origins["port"] == Origin("environment", "CUPOLA_PORT")
    assert origins["context"] == Origin("flag", "--context")
    assert set(origins) == set(Settings.model_fields)


def test_a_variable_of_another_name_counts_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "offline: false\nhf_endpoint: https://a.example\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://b.example")
    monkeypatch.setenv("CUPOLA_HF_ENDPOINT", "https://c.example")
    effective = read_settings()
    assert (effective.settings.offline, effective.settings.hf_endpoint) == (True, "https://c.example")
    assert effective.origins["offline"].place == "HF_HUB_OFFLINE"
    assert effective.origins["hf_endpoint"].place == "CUPOLA_HF_ENDPOINT"


def test_lists_durations_and_sizes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        home, "pinned: [smollm2, 'qwen3:1']\npreload:\n- smollm2\nmemory: 2GB\nkeep_alive: 1h\nshutdown_seconds: 1m\n"
    )
    monkeypatch.setenv("CUPOLA_HOSTS", "Edge.local, models.example,")
    settings = load_settings()
    assert (settings.pinned, settings.preload) == (("smollm2", "qwen3:1"), ("smollm2",))
    assert (settings.memory, settings.keep_alive, settings.shutdown_seconds) == (2_000_000_000, 3600, 60)
    assert settings.hosts == ("edge.local", "models.example")


def test_a_file_that_is_asked_for_is_read_instead_of_the_homes(home: Path, tmp_path: Path) -> None:
    write(home, "slots: 3\nport: 4001\n")
    other = tmp_path / "other.yaml"
    other.write_text(f"slots: 4\nhome: {home}\n")
    effective = read_settings(config=other)
    assert (effective.settings.slots, effective.settings.port) == (4, 5272)
    assert effective.origins["slots"].place == f"{other}, line 1"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("slots: 2\nsolts: 3\n", 2, "unknown setting 'solts'"),
        ("slots: many\n", 1, "slots: Input should be a valid integer"),
        ("\n\nslots: true\n", 3, "slots: Input should be a valid integer"),
        ("slots: 0\n", 1, "slots: Input should be greater than or equal to 1"),
        ("slots:\n", 1, "slots: Input should be a valid integer"),
        ("slots: [1, 2]\n", 1, "slots: Input should be a valid integer"),
        ("slots: {a: 1}\n", 1, "slots takes a single value or a list"),
        ("pinned: [[a]]\n", 1, "pinned takes a single value or a list"),
        ("slots: 1\nport: 1\nslots: 2\n", 3, "slots is set already in line 1"),
        ("keep_alive: soon\n", 1, "keep_alive: is not a duration"),
        ("keep_alive: -2\n", 1, "keep_alive: is negative; -1 means for ever"),
        ("memory: lots\n", 1, "memory: is not a size"),
        ("hosts: ['http://a']\n", 1, "'http://a' is not a host's name"),
        ("hosts: '*'\n", 1, "'*' is not a host's name"),
        ("log_format: xml\n", 1, "log_format: Input should be 'auto', 'pretty' or 'json'"),
        ("log_level: loud\n", 1, "log_level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ("home: /elsewhere\n", 1, "home is where this file was found"),
        ("config: a.yaml\n", 1, "config is a flag or a variable"),
        ("slots: 1\n  port: 2\n", 2, "not valid YAML"),
        ("a: 'open\n", 2, "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_line(home: Path, text: str, line: int, words: str) -> None:
    path = write(home, text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert f"{path}, line {line}" in caught.value.message
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"just text", b"\xff\xfe\x00a", b"[" * 5000, b"a: \x01"])
def test_what_is_no_file_of_settings(home: Path, content: bytes) -> None:
    path = home / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(path) in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_changes_nothing(home: Path, content: str) -> None:
    write(home, content)
    assert load_settings() == Settings()


def test_a_file_that_is_asked_for_and_not_there(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read: No such file"):
        load_settings(config=home / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(config=home)


def test_an_empty_variable_names_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "slots: 3\n")
    monkeypatch.setenv("CUPOLA_CONFIG", "")
    assert (load_settings().config, load_settings().slots) == (None, 3)


def test_a_variable_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPOLA_KEEP_CACHE", "a while")
    with pytest.raises(ConfigError, match=r"CUPOLA_KEEP_CACHE: is not a duration; .* \(got 'a while'\)"):
        load_settings()
    monkeypatch.setenv("CUPOLA_KEEP_CASH", "1")
    with pytest.raises(ConfigError, match=r"Unknown setting CUPOLA_KEEP_CASH\. Did you mean CUPOLA_KEEP_CACHE"):
        load_settings()


@pytest.mark.parametrize("key", ["", "short", "has spaces in its middle", "schlüssel-schlüssel", "x" * 15])
def test_a_key_that_cannot_be_one_stops_the_start_and_is_not_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CUPOLA_API_KEY", key)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "CUPOLA_API_KEY: a key has at least 16 characters" in caught.value.message
    assert not key or key not in caught.value.message


def test_a_broken_file_does_not_tell_the_key_in_it(home: Path) -> None:
    write(home, "api_key: 'secret-secret-secret\nport: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1")],
)
def test_a_server_on_every_address_is_reached_on_loopback(host: str, url: str) -> None:
    assert Settings(host=host, port=1).url == url
