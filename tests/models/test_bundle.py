"""A bundle on its way from one device to another: whole, damaged, and made by somebody who means harm."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.environment import child_environment
from server.errors import CupolaError, HashMismatch, InvalidValue
from server.models.bundle import unpacked
from server.models.store import Store

from ..serving import add_fake_model, pull, running_server

MODEL = "mine"
Change = Callable[[dict[str, Any], dict[str, bytes]], None]


def cupola(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as on a device without a network."""
    environment = child_environment() | {"CUPOLA_HOME": str(home), "CUPOLA_OFFLINE": "1"}
    command = [sys.executable, "-P", "-m", "server", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Another device's store, with a model that it alone knows."""
    home = tmp_path / "home"
    add_fake_model(home, MODEL)
    pull(home, MODEL)
    return home


@pytest.fixture
def archive(home: Path, tmp_path: Path) -> Path:
    target = tmp_path / "bundle.tar"
    done = cupola(home, "bundle", MODEL, "--no-wheels", "-o", str(target), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size"] == target.stat().st_size
    return target


def rewritten(archive: Path, change: Change) -> None:
    """The same bundle with other content: written by the standard library, as an attacker might."""
    with tarfile.open(archive) as old:
        contents = {member.name: old.extractfile(member).read() for member in old}  # type: ignore[union-attr]
    index = json.loads(contents.pop("bundle.json"))
    change(index, contents)
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as new:
        for name, content in {"bundle.json": json.dumps(index).encode(), **contents}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))


def assert_nothing_is_visible(home: Path) -> None:
    assert Store(home).records() == []
    assert not any(path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock")


def refused(archive: Path, home: Path) -> CupolaError:
    with pytest.raises(CupolaError) as caught, unpacked(archive, home):
        pytest.fail("it was unpacked")
    assert_nothing_is_visible(home)
    return caught.value


def test_a_model_travels_and_is_served_offline(archive: Path, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    done = cupola(other, "bundle", "install", str(archive))
    assert done.returncode == 0, done.stderr
    assert f"{MODEL}@weightless is ready" in done.stdout
    assert Store(other).records()[0].files == Store(home).records()[0].files
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    with running_server(other, MODEL, offline="true") as server, server.client() as client:
        assert client.post("/v1/chat/completions", json=body).status_code == httpx.codes.OK
    assert cupola(other, "verify").returncode == 0
    again = cupola(other, "bundle", "install", str(archive), "--json")
    assert json.loads(again.stdout)["installed"] == [f"{MODEL}@weightless"]


def test_tar_reads_it(archive: Path) -> None:
    with tarfile.open(archive) as file:
        names = file.getnames()
    assert names[:2] == ["bundle.json", "README.txt"]
    assert all(name.startswith("blobs/sha256-") for name in names[2:])


def test_wheels_are_kept_and_their_command_is_said(home: Path, tmp_path: Path) -> None:
    wheels, target, other = tmp_path / "wheels", tmp_path / "bundle.tar", tmp_path / "other"
    wheels.mkdir()
    (wheels / "cupola-0.1.0-py3-none-any.whl").write_bytes(b"a wheel")
    (wheels / f"{96 * 'a'}.whl").write_bytes(b"with as long a name as a header has room for")
    done = cupola(home, "bundle", "--wheels", str(wheels), "-o", str(target), MODEL)
    assert done.returncode == 0, done.stderr
    said = json.loads(cupola(other, "bundle", "install", str(target), "--json").stdout)
    assert (said["wheels"], said["ran"]) == (2, False)
    assert said["command"][2:6] == ["pip", "install", "--no-index", "--find-links"]
    assert (Path(said["command"][6]) / "cupola-0.1.0-py3-none-any.whl").read_bytes() == b"a wheel"
    assert said["command"][7].startswith("cupola[")
    refusal = cupola(other, "bundle", "install", str(target), "--install-wheels", str(tmp_path / "nowhere"))
    assert "is no virtual environment" in refusal.stderr


def test_wheels_of_another_package_alone_are_refused(home: Path, tmp_path: Path) -> None:
    done = cupola(home, "bundle", MODEL, "--wheels", str(tmp_path), "-o", str(tmp_path / "bundle.tar"))
    assert (done.returncode, "has no wheel of cupola" in done.stderr) == (1, True)
    fetching = cupola(home, "bundle", MODEL, "-o", str(tmp_path / "bundle.tar"))
    assert "CUPOLA_OFFLINE is set" in fetching.stderr
    assert not (tmp_path / "bundle.tar").exists()


def test_a_damaged_source_makes_no_bundle(home: Path, tmp_path: Path) -> None:
    (blob,) = (home / "blobs").iterdir()
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    done = cupola(home, "bundle", MODEL, "--no-wheels", "-o", str(tmp_path / "bundle.tar"))
    assert "cupola verify" in done.stderr
    assert not list(tmp_path.glob("*bundle.tar*"))


@pytest.mark.parametrize("place", [100, 600, 2000, -1500])
def test_one_damaged_byte_is_refused(archive: Path, tmp_path: Path, place: int) -> None:
    """In a header, the list of files, a file, and what comes after the last."""
    content = bytearray(archive.read_bytes())
    content[place] ^= 0xFF
    archive.write_bytes(content)
    refused(archive, tmp_path / "other")


def test_every_damaged_byte_of_a_blob_is_noticed(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as file:
        blob = file.getmembers()[-1]
    content = bytearray(archive.read_bytes())
    content[blob.offset_data] ^= 1
    archive.write_bytes(content)
    assert isinstance(refused(archive, tmp_path / "other"), HashMismatch)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_cut_bundle_is_refused(archive: Path, tmp_path: Path, share: float) -> None:
    os.truncate(archive, int(archive.stat().st_size * share))
    assert isinstance(refused(archive, tmp_path / "other"), InvalidValue)


def listed_as(name: str) -> Change:
    """One more file, listed with the right size and hash, of another name."""

    def change(index: dict[str, Any], contents: dict[str, bytes]) -> None:
        contents[name] = b"evil"
        index["files"].append({"name": name, "size": 4, "sha256": sha256(b"evil").hexdigest()})

    return change


def unlisted(index: dict[str, Any], contents: dict[str, bytes]) -> None:
    contents["wheels/more.whl"] = b"evil"


def twice(index: dict[str, Any], contents: dict[str, bytes]) -> None:
    index["files"].append(index["files"][0])


def larger(index: dict[str, Any], contents: dict[str, bytes]) -> None:
    index["files"][0]["size"] = 1 << 50


def misnamed(index: dict[str, Any], contents: dict[str, bytes]) -> None:
    name = f"blobs/sha256-{'0' * 64}"
    listed_as(name)(index, contents)


def lacking(index: dict[str, Any], contents: dict[str, bytes]) -> None:
    contents.pop(index["files"].pop()["name"])


def with_adapters(index: dict[str, Any], contents: dict[str, bytes]) -> None:
    index["spec"]["adapters"] = [{"name": "a", "files": {"gguf": "/etc/passwd"}, "licence": "MIT"}]


HOSTILE = [
    *map(listed_as, ("../evil", "/etc/evil", "blobs/../../evil", "wheels/../evil.whl", "wheels/a/b.whl", "evil", "")),
    *map(
        listed_as, ("wheels/\\..\\evil.whl", "signatures/../x.sig", "signatures/a/..sig", "wheels/" + 99 * "a" + ".whl")
    ),
    *(unlisted, twice, larger, misnamed, lacking, with_adapters),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_bundles_are_refused(archive: Path, tmp_path: Path, change: Change) -> None:
    rewritten(archive, change)
    refused(archive, tmp_path / "other")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_only_plain_files_are_unpacked(archive: Path, tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(archive) as old:
        index = old.extractfile("bundle.json").read()  # type: ignore[union-attr]
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as new:
        first = tarfile.TarInfo("bundle.json")
        first.size = len(index)
        new.addfile(first, io.BytesIO(index))
        link = tarfile.TarInfo("README.txt")
        link.type, link.linkname = kind, "/etc/passwd"
        new.addfile(link)
    assert "not unpacked" in refused(archive, tmp_path / "other").message


def test_extensions_of_the_format_are_refused(archive: Path, tmp_path: Path) -> None:
    """pax headers may rename what follows, and have any size themselves."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 5000}) as new:
        new.addfile(tarfile.TarInfo("bundle.json"))
    assert isinstance(refused(archive, tmp_path / "other"), InvalidValue)


def test_compressed_ones_are_none(archive: Path, tmp_path: Path) -> None:
    """So none can unpack to more than its own size."""
    with tarfile.open(tmp_path / "bomb.tar", "w:gz") as new:
        new.add(archive, "bundle.json")
    assert isinstance(refused(tmp_path / "bomb.tar", tmp_path / "other"), InvalidValue)


def test_a_rewritten_bundle_installs_without_a_change(archive: Path, tmp_path: Path) -> None:
    """The attacks above are refused for what they change, and not for how they were written."""
    rewritten(archive, lambda index, contents: None)
    assert cupola(tmp_path / "other", "bundle", "install", str(archive)).returncode == 0


def test_bytes_that_models_yaml_does_not_promise_are_refused(archive: Path, tmp_path: Path) -> None:
    def change(index: dict[str, Any], contents: dict[str, bytes]) -> None:
        index["manifests"][0] |= {"model": "smollm2-135m-instruct", "variant": "gguf-q4_1"}

    rewritten(archive, change)
    done = cupola(tmp_path / "other", "bundle", "install", str(archive))
    assert (done.returncode, "promises other bytes" in done.stderr) == (1, True)
    assert_nothing_is_visible(tmp_path / "other")


@pytest.mark.real
def test_the_default_model_travels(real_home: Path, tmp_path: Path) -> None:
    archive, other = tmp_path / "smollm2.tar", tmp_path / "other"
    assert cupola(real_home, "bundle", "smollm2@llama", "--no-wheels", "-o", str(archive)).returncode == 0
    assert cupola(other, "bundle", "install", str(archive)).returncode == 0
    archive.unlink()
    done = cupola(other, "run", "smollm2", "What is the capital of France?", "--json")
    assert "Paris" in json.loads(done.stdout)["content"]
