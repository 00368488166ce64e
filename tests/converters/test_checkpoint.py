"""A Hugging Face folder is read without running anything of it, and what is damaged or hostile is a clear error."""

import json
import os
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import sentencepiece_model
from converters.checkpoint import Checkpoint, checked_config, copy_own
from converters.gguf_to_hf import convert as to_hf
from converters.hf_to_gguf import convert
from server.errors import CupolaError, InvalidValue

from .small import Small, write

PICKLED = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94G?\xf0\x00\x00\x00\x00\x00\x00a."  # [1.0], protocol 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    to_hf(write(tmp_path / "small.gguf", Small("llama", tied=False)), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def changed(file: Path, **values: Any) -> None:
    """Set keys of a JSON file; None takes one away."""
    content = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def split(folder: Path) -> None:
    """The weights as two files and an index."""
    whole = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header: dict[str, Any] = json.loads(whole[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    places = {}
    for number, part in enumerate((names[::2], names[1::2])):
        data, entries = b"", {}
        for name in part:
            start, end = header[name]["data_offsets"]
            entries[name] = header[name] | {"data_offsets": [len(data), len(data) + end - start]}
            data += whole[8 + size + start : 8 + size + end]
            places[name] = f"part-{number}.safetensors"
        text = json.dumps(entries).encode()
        (folder / f"part-{number}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_many_files_are_the_same_checkpoint(folder: Path, tmp_path: Path) -> None:
    one = Checkpoint.open(folder)
    before = {name: one.floats(name).copy() for name in one.shapes}
    split(folder)
    many = Checkpoint.open(folder)
    assert len(many.files) == 2
    assert many.shapes == one.shapes
    assert many.types() == {"F32": len(before)}
    for name, values in before.items():
        np.testing.assert_array_equal(many.floats(name), values)
    assert convert(folder, tmp_path / "made").file.is_file()


def as_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLED)


def both(*damages: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


def more_tokens(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["vocab"]["one more"] = 1 << 20
    file.write_text(json.dumps(content), encoding="utf-8")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: f.rename(f.with_name("away")), "no folder"),
    "pickles alone": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "safetensors"),
    "a pickle of another name": (
        both(without_weights, lambda f: (f / "weights.dat").write_bytes(PICKLED)),
        "is a pickle",
    ),
    "a zip with a pickle": (both(without_weights, lambda f: as_zip(f / "w.model")), "is a pickle"),
    "a pickle called safetensors": (lambda f: (f / "model.safetensors").write_bytes(PICKLED), "is a pickle"),
    "a zip called safetensors": (lambda f: as_zip(f / "model.safetensors"), "is a pickle"),
    "code": (lambda f: changed(f / "config.json", auto_map={"AutoModel": "m.M"}), "never run"),
    "quantised": (lambda f: changed(f / "config.json", quantization_config={"bits": 4}), "quantised already"),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "a config that is a list": (lambda f: (f / "config.json").write_text("[]"), "no JSON object"),
    "a config that is deep": (lambda f: (f / "config.json").write_text("[" * 99_999), "no JSON"),
    "a header that is longer": (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "no safetensors"),
    "half a file": (lambda f: os.truncate(f / "model.safetensors", 40_000), "does not lie in the file"),
    "an index that leads out": (
        both(split, lambda f: changed(f / "model.safetensors.index.json", weight_map={"a": "../x.safetensors"})),
        "does not name the files",
    ),
    "a missing part": (both(split, lambda f: (f / "part-1.safetensors").unlink()), "lacks part-1"),
    "no layers": (lambda f: changed(f / "config.json", num_hidden_layers=None), "num_hidden_layers"),
    "heads of a word": (lambda f: changed(f / "config.json", num_attention_heads="many"), "num_attention_heads"),
    "more layers than there are": (lambda f: changed(f / "config.json", num_hidden_layers=3), "has no tensor"),
    "fewer layers than there are": (lambda f: changed(f / "config.json", num_hidden_layers=1), "not supported"),
    "another width": (lambda f: changed(f / "config.json", hidden_size=32), "is \\["),
    "another class": (lambda f: changed(f / "config.json", architectures=["XForCausalLM"]), "Known: Llama"),
    "another rope": (lambda f: changed(f / "config.json", rope_scaling={"rope_type": "yarn"}), "yarn"),
    "a rope of no factor": (lambda f: changed(f / "config.json", rope_scaling={"type": "linear"}), "no factor"),
    "a base that is a word": (lambda f: changed(f / "config.json", rope_theta="x"), "rope_theta"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "a tokenizer of words": (lambda f: changed(f / "tokenizer.json", model={"type": "WordLevel"}), "no BPE"),
    "a tokenizer of a type that is a list": (lambda f: changed(f / "tokenizer.json", model={"type": []}), "no BPE"),
    "normalizers that are none": (
        lambda f: changed(f / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": True}),
        "no tokenizer",
    ),
    "a tokenizer that is broken": (lambda f: changed(f / "tokenizer.json", added_tokens=[7]), "no tokenizer"),
    "another cut": (lambda f: changed(f / "tokenizer.json", pre_tokenizer={"type": "Whitespace"}), "no name for"),
    "more tokens than rows": (lambda f: more_tokens(f / "tokenizer.json"), "resize the embeddings"),
    "fewer words than rows": (lambda f: changed(f / "config.json", vocab_size=100), "vocab_size in config.json is 100"),
    "more words than rows": (
        lambda f: changed(f / "config.json", vocab_size=1 << 24),
        "vocab_size in config.json is 1",
    ),
    "settings that are words": (
        lambda f: changed(f / "generation_config.json", top_k="x"),
        "GGUF cannot hold|wrong kind",
    ),
    "pieces that are none": (
        lambda f: (f / "tokenizer.model").write_bytes(b"\x0a\xff\xff"),
        "no model of SentencePiece",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_cannot_be_read_is_one_clear_error(what: str, folder: Path, tmp_path: Path) -> None:
    damage, reason = DAMAGES[what]
    damage(folder)
    with pytest.raises(InvalidValue, match=reason):
        convert(folder, tmp_path / "made")
    assert not (tmp_path / "made").exists()


STRANGE: list[Any] = [None, -1, 1 << 70, 1e400, "x", [], {}, [[]], {"type": 7}, True]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_no_change_of_a_file_is_a_crash(name: str, folder: Path, tmp_path: Path) -> None:
    """Any byte another, or any value of another kind: an error for the user or an artifact, and nothing else."""
    source = np.random.default_rng(5)
    whole = (folder / name).read_bytes()
    content = json.loads(whole)
    keys = list(content)
    for number in range(40):
        if number % 2:
            key = keys[int(source.integers(len(keys)))]
            value = STRANGE[int(source.integers(len(STRANGE)))]
            (folder / name).write_text(json.dumps(content | {key: value}), encoding="utf-8")
        else:
            damaged = bytearray(whole)
            damaged[int(source.integers(len(whole)))] = int(source.integers(256))
            (folder / name).write_bytes(damaged)
        with suppress(CupolaError):
            convert(folder, tmp_path / f"made-{number}")


def test_pieces_of_any_bytes_are_an_error_or_pieces(tmp_path: Path) -> None:
    source = np.random.default_rng(6)
    file = tmp_path / "tokenizer.model"
    for _ in range(500):
        file.write_bytes(b"\x0a" + source.integers(0, 256, int(source.integers(0, 60)), np.uint8).tobytes())
        with suppress(InvalidValue):
            assert sentencepiece_model.read(file)


def test_a_link_is_followed_into_the_hubs_cache_and_nowhere_else(tmp_path: Path) -> None:
    snapshot, blobs, target = (
        tmp_path / "models--a--b" / "snapshots" / "1",
        tmp_path / "models--a--b" / "blobs",
        tmp_path,
    )
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to(blobs / "abc")
    (tmp_path / "secret").write_text("secret")
    (snapshot / "merges.txt").symlink_to(tmp_path / "secret")
    copy_own(snapshot / "config.json", target)
    assert (target / "config.json").read_text() == "{}"
    assert not (target / "config.json").is_symlink()
    with pytest.raises(InvalidValue, match="leads out of the model's folder"):
        copy_own(snapshot / "merges.txt", target)
    assert not (target / "merges.txt").exists()


def test_a_decoy_of_safetensors_does_not_hide_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "decoy.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InvalidValue, match="is a pickle"):
        checked_config(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are of Unix")
def test_what_is_not_the_models_is_not_opened(tmp_path: Path) -> None:
    to_hf(write(tmp_path / "small.gguf", Small("llama")), tmp_path / "model")
    folder = tmp_path / "model"
    checked_config(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.jinja").symlink_to("/etc/hostname")
    with pytest.raises(InvalidValue, match="leads out of the model's folder"):
        checked_config(folder)
    (folder / "chat_template.jinja").unlink()
    os.mkfifo(folder / "tokenizer.model")
    with pytest.raises(InvalidValue, match="neither a file nor a folder"):
        convert(folder, tmp_path / "out", "f16")
    (folder / "tokenizer.model").unlink()
    (folder / "model.safetensors").rename(tmp_path / "stranger.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../stranger.safetensors"}}')
    with pytest.raises(InvalidValue, match="does not name the files"):
        checked_config(folder)
    assert not (tmp_path / "out").exists()
