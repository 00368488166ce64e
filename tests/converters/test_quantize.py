"""llama.cpp's types, with and without an importance matrix of ours, measured against float32."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import calibration, imatrix, quantize
from converters.assessment import assess
from converters.gguf_to_hf import convert as to_checkpoint
from converters.hf_to_gguf import convert as to_gguf
from server.errors import ConversionFailed, InvalidValue
from server.models import gguf
from server.models.lineage import read_record

from .small import Small, write

pytestmark = pytest.mark.real
LEAST_WRITTEN = 80_000_000  # bytes of the default model in Q4_0


@pytest.fixture(scope="module")
def floats(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as a GGUF file of 16-bit floats."""
    folder = tmp_path_factory.mktemp("floats")
    to_checkpoint(real_model, folder / "smollm2")
    return to_gguf(folder / "smollm2", folder / "gguf", "f16").file


@pytest.fixture(scope="module")
def importance(floats: Path) -> tuple[imatrix.Importance, dict[str, str]]:
    found, dataset = calibration.importance(floats, "auto", lambda *_: None)
    assert found is not None
    return found, dataset


def test_a_matrix_weighs_what_goes_into_it(
    floats: Path, importance: tuple[imatrix.Importance, dict[str, str]], tmp_path: Path
) -> None:
    found, dataset = importance
    model = gguf.read(floats)
    assert found.means().keys() == {name for name, info in model.tensors.items() if len(info.shape) > 1}
    for name, values in found.means().items():
        assert values.shape == (model.tensors[name].shape[-1],)
        assert (values >= 0).all()
        assert values.std() > 0
    imatrix.write(found, tmp_path / "i.gguf", next(iter(dataset)))
    again = imatrix.read(tmp_path / "i.gguf")
    for name, values in found.means().items():
        assert np.allclose(again.means()[name], values, rtol=1e-5)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("precision", "most"), [("q8_0", 0.01), ("q4_k_m", 0.1)])
def test_a_type_is_as_good_as_it_should_be_and_no_worse_with_importance(
    floats: Path,
    importance: tuple[imatrix.Importance, dict[str, str]],
    tmp_path: Path,
    precision: str,
    most: float,
) -> None:
    plain = quantize.convert(floats, tmp_path / "plain", precision)
    weighed = quantize.convert(floats, tmp_path / "weighed", precision, *importance)
    without, with_it = (assess("llama", made.file, floats).kl_mean for made in (plain, weighed))
    assert with_it <= without + 1e-6
    assert without <= most
    record = read_record(tmp_path / "weighed")
    assert record is not None
    assert record.tensor_types == weighed.tensors == count(weighed.file)
    assert record.datasets == importance[1]
    assert [step.tool for step in record.steps] == ["gguf-to-hf", "hf-to-gguf", "gguf-to-gguf"]


def count(file: Path) -> dict[str, int]:
    kinds = [info.kind for info in gguf.read(file).tensors.values()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def test_what_needs_importance_says_so(real_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="--imatrix auto"):
        quantize.convert(real_model, tmp_path / "x", "iq2_xxs")
    with pytest.raises(InvalidValue, match="has no type 'q9'"):
        quantize.convert(real_model, tmp_path / "x", "q9")
    with pytest.raises(InvalidValue, match="no importance matrix"):
        imatrix.read(real_model)
    assert list(tmp_path.iterdir()) == []


def test_every_type_that_is_offered_can_be_written_and_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """On rows that all blocks fill; a type that llama.cpp gains is tested when it is offered."""
    model = Small("llama", layers=1, hidden=256, head_size=64, feed_forward=512, tied=False)
    source = write(tmp_path / "s.gguf", model)
    matrices = {name: info for name, info in gguf.read(source).tensors.items() if len(info.shape) > 1}
    ones = imatrix.Importance(
        {name: np.ones(info.shape[-1]) for name, info in matrices.items()}, dict.fromkeys(matrices, 1)
    )
    for precision in quantize.known_types():
        made = quantize.convert(source, tmp_path / precision, precision, ones)
        assert made.tensors == count(made.file), precision
        assert set(made.tensors) - {"F32"} or precision == "f32", precision
    assert capfd.readouterr().err == "", "llama.cpp's own log is not for the user"


def test_what_the_quantiser_says_is_in_the_error(tmp_path: Path) -> None:
    source = write(tmp_path / "s.gguf", Small("llama", layers=1))  # rows of 64, and blocks of 128
    with pytest.raises(ConversionFailed, match="no tensor type fallback"):
        quantize.convert(source, tmp_path / "made", "q1_0")
    assert not (tmp_path / "made").exists()


def test_the_importance_of_another_model_is_refused(real_model: Path, tmp_path: Path) -> None:
    other = imatrix.Importance({"blk.0.attn_q.weight": np.ones(7)}, {"blk.0.attn_q.weight": 1})
    with pytest.raises(InvalidValue, match="of another model"):
        quantize.convert(real_model, tmp_path / "x", "q4_0", other)


def test_a_short_text_is_refused(real_model: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too short.")
    with pytest.raises(InvalidValue, match="at least 256"):
        calibration.write(real_model, tmp_path / "i.gguf", tmp_path / "short.txt", lambda *_: None)
    assert not (tmp_path / "i.gguf").exists()


@pytest.mark.parametrize("seed", range(5))
def test_a_kill_leaves_nothing_under_the_name(real_model: Path, tmp_path: Path, seed: int) -> None:
    """It is killed when so many bytes of the file are written."""
    target, partial = tmp_path / "made", tmp_path / ".made.partial"
    command = [sys.executable, "-P", "-m", "converters", "gguf-to-gguf", str(real_model), str(target), "--no-quality"]
    share = random.Random(seed).random()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while sum(file.stat().st_size for file in partial.glob("*")) < share * LEAST_WRITTEN:
            assert process.poll() is None, "it ended before it was to be killed"
        process.kill()
    assert not target.exists()
    assert partial.exists(), "it was killed in the middle"
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    record = read_record(target)
    assert record is not None
    [file] = record.files
    assert hashlib.sha256((target / file.name).read_bytes()).hexdigest() == file.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["made"], "what the dead one left is gone"


def test_the_ends_have_types_of_their_own(real_model: Path, tmp_path: Path) -> None:
    """In the default model the two are one matrix, and its rows are no multiple of 256."""
    made = quantize.convert(real_model, tmp_path / "made", "q4_0", ends=quantize.Ends(output="q8_0"))
    assert made.tensors == {"F32": 61, "Q4_0": 210, "Q8_0": 1}
    assert gguf.read(made.file).tensors["token_embd.weight"].kind == "Q8_0"
    record = read_record(tmp_path / "made")
    assert record is not None
    assert record.steps[-1].parameters["output_type"] == "q8_0"
    other = quantize.convert(real_model, tmp_path / "other", "q4_0", ends=quantize.Ends(embedding="q5_1"))
    assert other.tensors == {"F32": 61, "Q4_0": 210, "Q5_1": 1}
    for kind, complaint in (("q6_k", "blocks of 256"), ("q9", "no type 'q9' for a matrix")):
        with pytest.raises(InvalidValue, match=complaint):
            quantize.convert(real_model, tmp_path / kind, "q4_0", ends=quantize.Ends(embedding=kind))
        assert not (tmp_path / kind).exists()


def test_every_chunk_begins_as_a_text_does(tmp_path: Path) -> None:
    model = gguf.read(write(tmp_path / "small.gguf", Small("llama", feed_forward=128)))
    tokens = [5, 6, 8] * 170  # two chunks after one leading token each
    found = imatrix.compute(model, tokens, lead=[3])
    plain = imatrix.compute(model, [3, *tokens[:255], 3, *tokens[255:]])
    assert found.tokens == plain.tokens == 512
    assert all((found.sums[name] == plain.sums[name]).all() for name in plain.sums)
    assert (imatrix.compute(model, tokens).sums["blk.0.attn_q.weight"] != found.sums["blk.0.attn_q.weight"]).any()
