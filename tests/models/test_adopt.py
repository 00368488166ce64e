import os
import struct
from pathlib import Path

import pytest

from server.errors import InvalidValue
from server.models.adopt import describe
from server.models.gguf import context_length
from server.models.spec import FileSource, HuggingFaceSource
from server.models.standard import with_standard_variants

UINT32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*pairs: bytes, count: int | None = None) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs) if count is None else count) + b"".join(pairs)


def number(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", UINT32, value)


def words(key: str, *values: str) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(text, values))


HEADER = gguf(
    text("general.architecture") + struct.pack("<I", STRING) + text("llama"),
    words("general.tags", "chat", "tiny"),
    text("general.numbers") + struct.pack("<IIQ", ARRAY, UINT32, 3) + b"\0" * 12,
    number("llama.context_length", 2048),
)


def describe_plain(target: str | Path, **options: str | int | None) -> object:
    given = {"name": None, "pattern": None, "context_length": None, "licence": "unknown"} | options
    return describe(str(target), **given)  # type: ignore[arg-type]


def test_the_context_length_of_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(HEADER)
    assert context_length(path) == 2048


@pytest.mark.parametrize(
    "body",
    [
        HEADER[:40],
        gguf(text("a") + struct.pack("<I", STRING) + struct.pack("<Q", 1 << 60)),
        gguf(text("a") + struct.pack("<IIQ", ARRAY, STRING, 1 << 60)),
        gguf(text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1)),
        gguf(count=1 << 60),
        b"GGUF",
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(body)
    with pytest.raises(InvalidValue, match=r"a\.gguf is not a valid GGUF file: "):
        context_length(path)


def test_a_header_that_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf(number("llama.block_count", 4)))
    assert context_length(path) is None


def test_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "My Tuned Model-Q4_K_M.gguf"
    path.write_bytes(HEADER)
    model = describe(str(path), None, None, None, "MIT")
    assert (model.name, model.licence, model.context_length) == ("my-tuned-model-q4_k_m", "MIT", 2048)
    assert model.variants[0].name == "gguf-q4_k_m"
    assert model.variants[0].quantization == "Q4_K_M"
    assert model.variants[0].source == FileSource(path=str(path))
    assert describe(str(path), "tuned", None, 64, "MIT").context_length == 64


def test_a_folder_of_onnx_runtime_genai(tmp_path: Path) -> None:
    folder = tmp_path / "phi-int4"
    folder.mkdir()
    (folder / "genai_config.json").write_text('{"model": {"context_length": 4097, "type": "phi3"}}')
    (folder / "weights.bin").write_bytes(b"external data, not a pickle")
    model = describe(str(folder), None, None, None, "MIT")
    assert (model.name, model.context_length) == ("phi-int4", 4097)
    assert (model.variants[0].format, model.variants[0].quantization) == ("onnx", "int4")


def test_a_repository(tmp_path: Path) -> None:
    model = describe("Qwen/Qwen3-0.6B-GGUF", None, "*Q8_0.gguf", None, "Apache-2.0")
    assert model.name == "qwen3-0.6b-gguf"
    assert model.variants[0].quantization == "Q8_0"
    assert model.variants[0].source == HuggingFaceSource(repo="Qwen/Qwen3-0.6B-GGUF", files=("*Q8_0.gguf",))
    folder = describe("microsoft/Phi-4-mini-instruct-onnx", "phi", "cpu/int4-block/*", None, "MIT")
    assert (folder.variants[0].format, folder.variants[0].quantization) == ("onnx", "int4")


def test_what_is_refused(tmp_path: Path) -> None:
    pickle = tmp_path / "model.pt"
    pickle.write_bytes(b"\x80\x02")
    weights = tmp_path / "model.safetensors"
    weights.touch()
    fraud = tmp_path / "model.gguf"
    fraud.write_bytes(b"PK\x03\x04")
    folder = tmp_path / "folder"
    folder.mkdir()
    refused: dict[str | Path, str] = {
        pickle: "is a pickle",
        weights: "is not called",
        fraud: "is no GGUF file",
        folder: "no genai_config.json",
        tmp_path / "absent.gguf": "neither a file or folder here nor a repository",
        "owner/model": "Say which files",
    }
    for target, complaint in refused.items():
        with pytest.raises(InvalidValue, match=complaint):
            describe_plain(target)
    (folder / "genai_config.json").write_text("{")
    with pytest.raises(InvalidValue, match="is not a genai_config"):
        describe_plain(folder)
    (folder / "genai_config.json").write_text('{"model": {}}')
    (folder / "optimizer.pt").touch()
    with pytest.raises(InvalidValue, match=r"optimizer\.pt is a pickle"):
        describe_plain(folder)
    for pattern, complaint in {"*.bin": "is a pickle", "*.safetensors": "neither a GGUF file nor a folder"}.items():
        with pytest.raises(InvalidValue, match=complaint):
            describe_plain("owner/model", pattern=pattern)
    with pytest.raises(InvalidValue, match="makes no model name"):
        describe_plain("owner/model", pattern="*.gguf", name="¿?")


def test_what_is_neither_file_nor_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(InvalidValue, match="neither a file nor a folder"):
        describe(str(tmp_path / "pipe.gguf"), None, None, None, "MIT")


def test_a_gguf_file_that_pools_makes_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "encoder.gguf"
    architecture = text("general.architecture") + struct.pack("<I", STRING) + text("bert")
    path.write_bytes(gguf(architecture, number("bert.context_length", 512), number("bert.pooling_type", 1)))
    model = describe(str(path), None, None, None, "MIT")
    assert model.encodes
    assert model.context_length == 512
    assert [variant.name for variant in with_standard_variants(model).variants] == ["gguf-unknown"]
    path.write_bytes(gguf(architecture, number("bert.pooling_type", 0)))
    assert not describe(str(path), None, None, None, "MIT").encodes


def test_a_folder_with_a_sentence_encoder_makes_embeddings(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    (tmp_path / "config.json").write_text('{"vocab_size": 9, "hidden_size": 4, "max_position_embeddings": 16}')
    model = describe(str(tmp_path), "mine", None, None, "MIT")
    assert (model.encodes, model.context_length, model.variants[0].format) == (True, 16, "onnx")
