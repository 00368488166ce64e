"""`cupola key`: made once, shown never again, taken away."""

import json
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .test_run import cupola


def test_a_key_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = cupola(home, "key", "create", "laptop", "--scopes", "metrics, infer")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("cupola_")
    assert len(key) >= 50
    assert "'laptop' is made, for infer, metrics" in made.stderr
    file = home / "keys.json"
    assert key not in file.read_text()
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = cupola(home, "key", "list", "--json")
    [row] = json.loads(listed.stdout)["keys"]
    assert (row["name"], row["scopes"]) == ("laptop", ["infer", "metrics"])
    assert cupola(home, "key", "list").stdout.splitlines()[1].split()[:3] == ["laptop", "infer,", "metrics"]


def test_another_key_does_not_touch_the_first(tmp_path: Path) -> None:
    first = json.loads(cupola(tmp_path, "key", "create", "a", "--json").stdout)
    before = json.loads((tmp_path / "keys.json").read_text())["keys"][0]
    second = json.loads(cupola(tmp_path, "key", "create", "b", "--json", "--scopes", "admin").stdout)
    assert first["key"] != second["key"]
    assert (first["scopes"], second["scopes"]) == (["infer"], ["admin"])
    assert json.loads((tmp_path / "keys.json").read_text())["keys"][0] == before


def test_keys_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: cupola(tmp_path, "key", "create", name), "abcd"))
    assert [one.returncode for one in done] == [0] * 4
    assert sorted(key["name"] for key in json.loads((tmp_path / "keys.json").read_text())["keys"]) == list("abcd")


def test_a_revoked_key_is_gone(tmp_path: Path) -> None:
    cupola(tmp_path, "key", "create", "a")
    done = cupola(tmp_path, "key", "revoke", "a")
    assert done.returncode == 0
    assert "No key is left" in done.stderr
    assert json.loads((tmp_path / "keys.json").read_text())["keys"] == []
    assert "There is no key in" in cupola(tmp_path, "key", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "a b"], "'a b' is no name for a key"),
        (["create", ""], "'' is no name for a key"),
        (["create", "x" * 65], "is no name for a key"),
        (["create", "new", "--scopes", "root"], "There is no scope 'root'; there are infer, metrics, admin"),
        (["create", "new", "--scopes", ","], "A key needs at least one scope"),
        (["create", "old"], "There is a key of the name 'old' already"),
        (["revoke", "new"], "There is no key of the name 'new'. Known: old"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: list[str], words: str) -> None:
    cupola(tmp_path, "key", "create", "old")
    before = (tmp_path / "keys.json").read_text()
    done = cupola(tmp_path, "key", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert (tmp_path / "keys.json").read_text() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file/keys.json", "."):
        path = tmp_path / place
        done = cupola(tmp_path, "key", "create", "a", CUPOLA_KEYS_FILE=str(path))
        assert done.returncode == 78
        assert done.stderr.startswith(f"Error: The keys in {path} cannot be ")
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_a_broken_file_is_named_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": [{"name": "a"}]}')
    for arguments in (["create", "b"], ["list"], ["revoke", "a"]):
        done = cupola(tmp_path, "key", *arguments)
        assert done.returncode == 78
        assert done.stderr.startswith(f"Error: {file} is not a file of keys: ")
    assert file.read_text() == '{"keys": [{"name": "a"}]}'
