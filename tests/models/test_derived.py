"""Variants that are made here: from a download, by a converter, into the store."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from server.errors import ConversionFailed
from server.models.progress import Progress
from server.models.store import Store
from server.runners import load_runner
from server.runners.base import Placement
from server.settings import Settings

from ..converters.small import Small, write
from .deriver import made_of, variant_of

ROOT = Path(__file__).resolve().parents[2]
KILLS = 6


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "small.gguf", Small("llama"))


def test_what_is_made_is_measured_and_kept(gguf: Path, home: Path) -> None:
    model, store, settings = made_of(gguf), Store(home), Settings(home=home)
    exact = variant_of(model, "onnx-exact")
    seen: list[Progress] = []
    manifest = store.pull(model, exact, settings, seen.append)
    origin = store.manifest(model, model.variants[0])
    assert origin is not None
    assert manifest.derivation is not None
    assert (manifest.derivation.origin, manifest.derivation.digest) == ("gguf-f32", origin.digest)
    assert manifest.derivation.rounded == 0
    assert manifest.quality is not None
    assert manifest.quality.kl_mean < 1e-4
    assert {progress.phase for progress in seen} >= {"converting", "measuring", "verifying"}
    runner = load_runner("onnx", store.path(manifest), Placement(threads=1, slots=1, context=64), lambda _: None)
    assert runner.info.vocab_size > 256
    runner.close()
    assert store.pull(model, exact, settings) == manifest
    store.verify(manifest)
    assert store.remove(model, exact) > 0
    assert store.manifest(model, exact) is None
    assert store.manifest(model, model.variants[0]) == origin


def test_it_is_made_again_when_its_origin_changed(gguf: Path, home: Path, tmp_path: Path) -> None:
    store, settings = Store(home), Settings(home=home)
    model = made_of(gguf)
    before = store.pull(model, variant_of(model, "onnx-exact"), settings)
    changed = made_of(write(tmp_path / "changed.gguf", Small("llama"), seed=1))
    after = store.pull(changed, variant_of(changed, "onnx-exact"), settings)
    assert before.derivation is not None
    assert after.derivation is not None
    assert before.derivation.digest != after.derivation.digest
    assert before.digest != after.digest


def test_llama_cpp_quantises(gguf: Path, home: Path) -> None:
    model = made_of(gguf)
    manifest = Store(home).pull(model, variant_of(model, "gguf-q4_0"), Settings(home=home))
    assert [file.name for file in manifest.files] == ["small-Q4_0.gguf"]
    assert manifest.quality is not None
    assert 1e-4 < manifest.quality.kl_mean < 1


@pytest.mark.parametrize(
    ("small", "reason"), [(Small("llama", cut="smoke-signals"), "smoke-signals"), (Small("mamba"), "'mamba'.*llama")]
)
def test_what_cannot_be_made_says_why_and_leaves_nothing(tmp_path: Path, home: Path, small: Small, reason: str) -> None:
    model = made_of(write(tmp_path / "other.gguf", small))
    store = Store(home)
    with pytest.raises(ConversionFailed, match=reason):
        store.pull(model, variant_of(model, "onnx-exact"), Settings(home=home))
    assert store.manifest(model, variant_of(model, "onnx-exact")) is None
    assert store.manifest(model, model.variants[0]) is not None
    assert len([*home.glob("blobs/*")]) == 1
    store.discard_partial(model, variant_of(model, "onnx-exact"))
    assert not [path for path in home.glob("partial/*") if path.is_dir()]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX matter")
def test_a_kill_at_any_time_leaves_nothing_bad(gguf: Path, home: Path) -> None:
    model, store = made_of(gguf), Store(home)
    exact = variant_of(model, "onnx-exact")
    delays = random.Random(3)
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-m", "tests.models.deriver", str(home), str(gguf)], cwd=ROOT)
        try:
            process.wait(delays.uniform(0.3, 3.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if found := store.manifest(model, exact):
            store.verify(found)
    manifest = store.pull(model, exact, Settings(home=home))
    store.verify(manifest)
    assert not [path for path in home.glob("partial/*") if path.is_dir()]
