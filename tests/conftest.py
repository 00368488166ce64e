"""What every test shares: a clean environment, the real default model, and servers as real processes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import pytest
from filelock import FileLock

from converters.gguf_to_onnx import convert
from server.models.registry import Registry
from server.models.store import Store
from server.settings import Settings

from .bert_gguf import write_bert
from .serving import RunningServer, running_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--calls", type=int, default=400, help="how many requests the fuzzing of the API makes")
    parser.addoption(
        "--draws", type=int, default=3, help="requests of each test of enforced output, 8 or 4 answers each"
    )


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests changes what they test."""
    for name in list(os.environ):  # noqa: TID251
        if name.startswith(("CUPOLA_", "HF_")):
            monkeypatch.delenv(name)


def made_once(home: Path, run: str, make: Callable[[], object]) -> Path:
    """A home in the user's cache, made by the first process of a run that wants it. Others wait, and find it made.

    What is made stays: `make` also removes what an earlier run has left there.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    maker = Path(f"{home}.run")
    with FileLock(f"{home}.lock"):
        if not maker.exists() or maker.read_text() != run:
            make()
            maker.write_text(run)
    return home


@pytest.fixture(scope="session")
def real_home(testrun_uid: str) -> Path:
    """A home with the default model's real files, kept between runs and verified in each."""
    home = Path(platformdirs.user_cache_dir("cupola-tests"))
    store, registry = Store(home), Registry.load()
    model, variants = registry.resolve(registry.default)
    return made_once(home, testrun_uid, lambda: store.verify(store.pull(model, variants[0], Settings(home=home))))


@pytest.fixture(scope="session")
def real_model(real_home: Path) -> Path:
    """The GGUF file of the default model."""
    store, registry = Store(real_home), Registry.load()
    model, variants = registry.resolve(registry.default)
    manifest = store.manifest(model, variants[0])
    assert manifest is not None
    return store.path(manifest)


@pytest.fixture(scope="session")
def real_folder(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as an ONNX Runtime GenAI folder, converted here."""
    folder = tmp_path_factory.mktemp("converted") / "smollm2"
    convert(real_model, folder)
    return folder


@pytest.fixture(scope="session")
def onnx_home(testrun_uid: str) -> Path:
    """Another home, whose default model was made ONNX by `cupola pull` as it is now."""
    home = Path(platformdirs.user_cache_dir("cupola-tests-onnx"))
    store, registry = Store(home), Registry.load()
    model, variants = registry.resolve(f"{registry.default}@onnx-exact")

    def make() -> None:
        store.remove(model, variants[0])
        store.pull(model, variants[0], Settings(home=home))

    return made_once(home, testrun_uid, make)


@pytest.fixture(scope="session")
def minilm_home(testrun_uid: str) -> Path:
    """A home with the sentence encoder, made ONNX by `cupola pull` as it is now; its download is kept."""
    home = Path(platformdirs.user_cache_dir("cupola-tests-minilm"))
    store, registry = Store(home), Registry.load()
    model, variants = registry.resolve("minilm@onnx-fp32")

    def make() -> None:
        store.remove(model, variants[0])
        store.verify(store.pull(model, variants[0], Settings(home=home)))

    return made_once(home, testrun_uid, make)


@pytest.fixture(scope="session")
def minilm_folder(minilm_home: Path) -> Path:
    """The sentence encoder as the folder that ONNX Runtime loads."""
    store, registry = Store(minilm_home), Registry.load()
    model, variants = registry.resolve("minilm@onnx-fp32")
    manifest = store.manifest(model, variants[0])
    assert manifest is not None
    return store.path(manifest)


@pytest.fixture(scope="session")
def minilm_gguf(minilm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentence encoder as a GGUF file."""
    store, registry = Store(minilm_home), Registry.load()
    model, variants = registry.resolve("minilm@safetensors")
    manifest = store.manifest(model, variants[0])
    assert manifest is not None
    return write_bert(store.path(manifest), tmp_path_factory.mktemp("gguf") / "minilm.gguf")


@pytest.fixture(scope="session")
def llama_server(real_home: Path) -> Iterator[RunningServer]:
    with server_on("llama", real_home) as server:
        yield server


@pytest.fixture(scope="session")
def onnx_server(onnx_home: Path) -> Iterator[RunningServer]:
    with server_on("onnx", onnx_home) as server:
        yield server


@contextmanager
def server_on(engine: str, home: Path) -> Iterator[RunningServer]:
    """A server over the real model, which it puts on this engine."""
    with running_server(home) as server:
        with server.client() as http:
            assert http.get("/v1/models/smollm2").json()["engine"] == engine
        yield server


@pytest.fixture(scope="session", params=["llama", "onnx"])
def real_server(request: pytest.FixtureRequest) -> RunningServer:
    """A server over the real model on one of the engines; shared, so leave it as you found it.

    Both run to the end: a process that gets the tests file by file goes from one engine to the other with each file.
    """
    server: RunningServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that knows the fake model; shared, so leave it as you found it."""
    with running_server(tmp_path_factory.mktemp("home")) as server:
        yield server
