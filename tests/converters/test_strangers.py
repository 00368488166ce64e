"""What an attacker puts into a model's folder is refused with a sentence, at once: no code, no traceback, no wait."""

import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import adapters, gguf_to_onnx, hf_to_onnx, manifest, olive, peft_folder, safetensors_file
from converters.checkpoint import Checkpoint, checked_config
from converters.gguf_to_hf import convert as to_hf
from converters.hf_to_gguf import convert
from converters.merge import merge
from server.errors import InvalidValue
from server.models import genai_config
from server.models.lora_graph import GRAPH

from .small import Small, write

MODULE = "model.layers.0.self_attn.q_proj"
HUGE = 10**400  # an integer that no float holds
SEQUENCE = {"type": "Sequence"}
DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}


def save(path: Path, tensors: dict[str, tuple[list[int], int, int]], size: int) -> None:
    """A file of safetensors whose header says what one likes: shape, begin and end of each; `size` bytes behind it."""
    header = {name: {"dtype": "F32", "shape": s, "data_offsets": [a, b]} for name, (s, a, b) in tensors.items()}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + np.ones(size // 4, "<f4").tobytes())


def changed(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("strangers")
    to_hf(write(home / "small.gguf", Small("llama", tied=False)), home / "checkpoint")
    return home


@pytest.fixture
def checkpoint(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model / "checkpoint", tmp_path / "checkpoint"))


def adapter(folder: Path, width: int, **config: Any) -> Path:
    """Of one matrix [width, width], rank 1."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 2} | config))
    half, name = 4 * width, f"base_model.model.{MODULE}.lora"
    save(
        folder / "adapter_model.safetensors",
        {f"{name}_A.weight": ([1, width], 0, half), f"{name}_B.weight": ([width, 1], half, 2 * half)},
        2 * half,
    )
    return folder


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", "(a|a)*$", "(.*a){20}", r"(\w+\s?)*!"])
def test_no_pattern_of_an_adapter_takes_long(pattern: str, checkpoint: Path, tmp_path: Path) -> None:
    """A module with a name on which Python's `re` would go back for years."""
    lora = adapter(tmp_path / "lora", 64, alpha_pattern={pattern: 4})
    name = f"base_model.model.{'a' * 300}b.lora"
    tensors = {f"{name}_A.weight": ([1, 64], 0, 256), f"{name}_B.weight": ([64, 1], 256, 512)}
    save(lora / "adapter_model.safetensors", tensors, 512)
    start = time.process_time()
    with pytest.raises(InvalidValue):
        merge(checkpoint, lora, tmp_path / "made")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("pattern", "alpha"),
    [
        ("q_proj", 4.0),
        (MODULE, 4.0),
        (f"^{MODULE}$", 4.0),
        (r"layers\.[0-3]\.self_attn\.(q|k)_proj", 4.0),
        (r".*\.\d+\..*q_pro[a-z]+", 4.0),
        ("proj", 2.0),
        ("layers.1.self_attn.q_proj", 2.0),
        ("self_attn", 2.0),
    ],
)
def test_patterns_are_matched_as_peft_matches_them(pattern: str, alpha: float, tmp_path: Path) -> None:
    lora = peft_folder.read(adapter(tmp_path / "lora", 8, alpha_pattern={pattern: 4}))
    assert lora.pairs[MODULE].scale == alpha


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(?=q)q_proj", "is no pattern: error: look-around"),
        (r"(q)\1", "is no pattern: error: backreferences"),
        ("[", "is no pattern"),
        ("(.{1,100}){1,90}", "counts repetitions; write them out"),
    ],
)
def test_patterns_that_are_not_matched_are_named(pattern: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        peft_folder.read(adapter(tmp_path / "lora", 8, alpha_pattern={pattern: 4}))


CHAINS: dict[str, dict[str, Any]] = {
    "decoder": {"decoder": SEQUENCE | {"decoders": [DOUBLING] * 40}},
    "decoder in sequences": {"decoder": SEQUENCE | {"decoders": [SEQUENCE | {"decoders": [DOUBLING]}] * 40}},
    "decoder of no type": {"decoder": SEQUENCE | {"decoders": [DOUBLING | {"type": "x"}] * 40}},
    "decoder of no suffix": {"decoder": SEQUENCE | {"decoders": [{"type": "BPEDecoder", "suffix": ""}] * 40}},
    "normalizer": {"normalizer": SEQUENCE | {"normalizers": [DOUBLING] * 40}},
    "normalizer of nothing": {
        "normalizer": SEQUENCE | {"normalizers": [{"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y"}] * 40}
    },
    "pre_tokenizer": {
        "pre_tokenizer": SEQUENCE
        | {"pretokenizers": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}] * 40}
    },
    "post_processor": {
        "post_processor": {"type": "TemplateProcessing", "single": [TEXT] * 40, "pair": [], "special_tokens": {}}
    },
    "post_processor of many tokens": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [TEXT, *[{"SpecialToken": {"id": "a", "type_id": 0}}] * 100],
            "pair": [],
            "special_tokens": {"a": {"id": "a", "ids": [1] * 100, "tokens": ["a"] * 100}},
        }
    },
}


@pytest.mark.parametrize("what", CHAINS)
def test_no_step_of_a_tokenizer_multiplies(what: str, checkpoint: Path, tmp_path: Path) -> None:
    changed(checkpoint / "tokenizer.json", **CHAINS[what])
    with pytest.raises(InvalidValue, match=f"has a {what.split()[0]} that multiplies what it reads"):
        convert(checkpoint, tmp_path / "made")


@pytest.mark.parametrize(
    ("tensors", "size", "complaint"),
    [
        ({"a": ([4], 0, 16), "b": ([4], 8, 24)}, 24, "b lies over a"),
        ({"a": ([4], 0, 16), "b": ([4], 0, 16)}, 16, "b lies over a"),
        ({"a": ([4], 0, 16), "b": ([4], 16, 32)}, 16, "b does not lie in the file"),
        ({"a": ([4], 0, 16), "b": ([4], 32, 48)}, 48, "b lies beyond a gap behind a"),
        ({"a": ([4], 0, 16)}, 48, "has 32 bytes behind its tensors"),
        ({"a": ([4], 16, 0)}, 16, "a does not lie in the file"),
        ({"a": ([5], 0, 16)}, 16, "a does not lie in the file"),
        ({"a": ([0, 1 << 40, 1 << 40], 0, 0)}, 0, "a does not lie in the file"),
        ({"a": ([1 << 40, 1 << 40], 0, 16)}, 16, "a does not lie in the file"),
    ],
)
def test_tensors_lie_one_after_the_other(tensors: Any, size: int, complaint: str, tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", tensors, size)
    with pytest.raises(InvalidValue, match=complaint):
        safetensors_file.read(tmp_path / "model.safetensors")


def test_a_tensor_of_nothing_is_one(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {"none": ([0, 8], 0, 0), "a": ([2], 0, 8), "b": ([0], 8, 8)}, 8)
    file = safetensors_file.read(tmp_path / "model.safetensors")
    assert file.floats("none", 0, 8).shape == (0, 8)
    assert file.floats("a", 2).tolist() == [1.0, 1.0]


def test_an_empty_matrix_of_an_adapter(tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora", 8)
    name = f"base_model.model.{MODULE}.lora"
    tensors = {f"{name}_A.weight": ([0, 1 << 40, 1 << 40], 0, 0), f"{name}_B.weight": ([8, 1], 0, 32)}
    save(lora / "adapter_model.safetensors", tensors, 32)
    with pytest.raises(InvalidValue, match="does not lie in the file"):
        peft_folder.read(lora)


def test_every_way_asks_how_many_rows_there_are(checkpoint: Path, tmp_path: Path) -> None:
    """Libraries would make an embedding of as many as config.json says."""
    changed(checkpoint / "config.json", vocab_size=1 << 23)
    for way in (convert, hf_to_onnx.convert):
        with pytest.raises(InvalidValue, match=r"vocab_size in config\.json is 8388608, and the embedding is"):
            way(checkpoint, tmp_path / "made")
    with pytest.raises(InvalidValue, match="vocab_size"):
        Checkpoint.open(checkpoint)
    assert not (tmp_path / "made").exists()


def test_a_decoy_of_onnx_does_not_keep_a_recipe_from_being_checked(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04")
    (checkpoint / "decoy.onnx").write_bytes(b"")
    recipe = {"input_model": {"type": "HfModel", "model_path": "m"}, "passes": {"b": {"type": "ModelBuilder"}}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(InvalidValue, match="is a pickle"):
        olive.convert(tmp_path / "recipe.json", tmp_path / "made", checkpoint)


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"rope_theta": 0, "rope_parameters": None}, "rope_theta"),
    ({"rope_theta": HUGE}, "no JSON"),
    ({"rms_norm_eps": HUGE}, "no JSON"),
    ({"hidden_size": HUGE}, "no JSON"),
    ({"rms_norm_eps": 1e300}, "GGUF cannot hold"),
    ({"rope_scaling": {"type": "linear", "factor": 0}, "rope_parameters": None}, "factor in config.json is 0"),
    ({"rope_scaling": {"type": "linear", "factor": 1e300}, "rope_parameters": None}, "factor in config.json is 1e"),
    ({"rope_parameters": LLAMA3 | {"factor": 0}}, "factor in config.json is 0"),
    ({"rope_parameters": LLAMA3 | {"low_freq_factor": 0}}, "low_freq_factor in config.json is 0"),
    ({"rope_parameters": LLAMA3 | {"low_freq_factor": "x"}}, "low_freq_factor in config.json is x"),
    ({"rope_parameters": LLAMA3 | {"low_freq_factor": 4.0}}, "is not less than high_freq_factor"),
    ({"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 0}}, "original_max_position_embeddings"),
    ({"rope_parameters": LLAMA3 | {"rope_theta": 0}}, "rope_theta"),
    ({"architectures": {"0": "x"}}, "architectures is no list of names"),
    ({"architectures": 7}, "architectures is no list of names"),
    ({"architectures": [["x"]]}, "architectures is no list of names"),
    ({"architectures": "LlamaForCausalLM"}, "architectures is no list of names"),
    ({"architectures": []}, "a model of no class"),
]


@pytest.mark.parametrize(("values", "complaint"), CONFIGS, ids=[complaint for _, complaint in CONFIGS])
def test_numbers_that_cannot_be(values: dict[str, Any], complaint: str, checkpoint: Path, tmp_path: Path) -> None:
    changed(checkpoint / "config.json", **values)
    with pytest.raises(InvalidValue, match=complaint):
        convert(checkpoint, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_number_of_an_adapter_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no number of the usual size"):
        peft_folder.read(adapter(tmp_path / "lora", 8, lora_alpha=HUGE))


def test_front_matter_is_checked_before_a_library_reads_it(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "README.md").write_text("---\nlicense: [\n---\n", encoding="utf-8")
    with pytest.raises(InvalidValue, match="no YAML"):
        convert(checkpoint, tmp_path / "made")


@pytest.mark.parametrize("value", ["2024-01-01", "{a: 1}", "[1, [2]]", "null", "0x10", "true", ".inf"])
def test_front_matter_of_other_kinds_is_an_error_or_nothing(value: str, checkpoint: Path, tmp_path: Path) -> None:
    keys = ("license", "tags", "language", "base_model", "datasets", "model_name", "author", "license_link")
    for key in keys:
        (checkpoint / "README.md").write_text(f"---\n{key}: {value}\n---\n", encoding="utf-8")
        try:
            convert(checkpoint, tmp_path / key)
        except InvalidValue as error:
            assert "wrong kind" in error.message or "GGUF cannot hold" in error.message  # noqa: PT017


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are of Unix")
@pytest.mark.parametrize("make", [as_pipe, as_device])
@pytest.mark.timeout(20)
def test_pipes_and_devices_are_not_opened(make: Callable[[Path], None], checkpoint: Path, tmp_path: Path) -> None:
    """Opening a pipe waits for a writer, and a device has no end."""
    make(tmp_path / "model.gguf")
    with pytest.raises(InvalidValue, match=r"model\.gguf is "):
        gguf_to_onnx.convert(tmp_path / "model.gguf", tmp_path / "made")
    with pytest.raises(InvalidValue, match=r"model\.gguf is "):
        to_hf(tmp_path / "model.gguf", tmp_path / "made")
    for name in ("adapter_config.json", "cupola.json", "README.md", "adapter_model.bin"):
        lora = adapter(tmp_path / f"lora {name}", 64)
        (lora / name).unlink(missing_ok=True)
        make(lora / name)
        with pytest.raises(InvalidValue, match=name):
            merge(checkpoint, lora, tmp_path / "made")
        with pytest.raises(InvalidValue, match=name):
            adapters.to_gguf(lora, tmp_path / "base.gguf", tmp_path / "made")
    for name in ("cupola.json", "README.md", "genai_config.json"):
        (checkpoint / name).unlink(missing_ok=True)
        make(checkpoint / name)
        with pytest.raises(InvalidValue, match=name):
            checked_config(checkpoint)
        (checkpoint / name).unlink()
    make(checkpoint / "genai_config.json")
    (checkpoint / GRAPH).write_bytes(b"")
    with pytest.raises(InvalidValue, match=r"genai_config\.json"):
        genai_config.read(checkpoint)
    with pytest.raises(InvalidValue, match=r"genai_config\.json"):
        adapters.to_onnx(adapter(tmp_path / "lora", 64), checkpoint, tmp_path / "made")
    make(checkpoint.with_name("cupola.json"))
    with pytest.raises(InvalidValue, match=r"cupola\.json is no file"):
        manifest.Work("test", {}).read(checkpoint.parent)
    assert not (tmp_path / "made").exists()
