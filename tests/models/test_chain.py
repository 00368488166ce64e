"""Which converters run, in which order, for what is asked."""

from pathlib import Path
from typing import get_args

import pytest

from converters import gguf_to_hf, hf_to_gguf, quantize
from converters.hf_to_onnx import Precision
from server.errors import InvalidValue
from server.models.chain import FLOATS, MADE_BY, Kind, Stage, Wish, kind_of, stages


@pytest.mark.parametrize(
    ("kind", "wish", "wanted"),
    [
        ("gguf", Wish("onnx"), [Stage("gguf-to-onnx", ("--precision", "exact"))]),
        ("gguf", Wish("hf", "bf16"), [Stage("gguf-to-hf", ("--precision", "bf16"))]),
        ("gguf", Wish("gguf", "q4_0"), [Stage("gguf-to-gguf", ("--precision", "q4_0"))]),
        ("huggingface", Wish("gguf"), [Stage("hf-to-gguf", ("--precision", "q8_0"))]),
        (
            "huggingface",
            Wish("gguf", "q4_k_m", imatrix="auto"),
            [
                Stage("hf-to-gguf", ("--precision", "auto")),
                Stage("gguf-to-gguf", ("--precision", "q4_k_m", "--imatrix", "auto")),
            ],
        ),
        (
            "huggingface",
            Wish("onnx", "int4", "cuda", builder={"--block-size": "64"}, prune_lm_head=True),
            [
                Stage(
                    "hf-to-onnx",
                    ("--precision", "int4", "--device", "cuda", "--block-size", "64", "--prune-lm-head"),
                )
            ],
        ),
    ],
)
def test_what_runs(kind: Kind, wish: Wish, wanted: list[Stage]) -> None:
    assert stages(kind, wish) == wanted


@pytest.mark.parametrize(
    ("kind", "wish", "words"),
    [
        ("gguf", Wish("pickle"), "Known: onnx, gguf, hf"),
        ("huggingface", Wish("hf"), "already"),
        ("gguf", Wish("onnx", builder={"--block-size": "64"}), "--block-size is for ONNX made of a Hugging Face model"),
        ("gguf", Wish("onnx", imatrix="auto"), "--imatrix is for GGUF"),
        ("gguf", Wish("gguf", device="cuda"), "--device cuda"),
        ("huggingface", Wish("gguf", "q9_k"), "gguf has no 'q9_k'. Known: f32, bf16"),
        ("huggingface", Wish("onnx", "exact"), "onnx has no 'exact'. Known: fp32"),
        ("gguf", Wish("hf", "q8_0"), "hf has no 'q8_0'"),
    ],
)
def test_what_has_nothing_to_act_on(kind: Kind, wish: Wish, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        stages(kind, wish)


def test_what_a_source_is(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    (tmp_path / "config.json").write_text("{}")
    assert kind_of(tmp_path / "model.gguf") == "gguf"
    assert kind_of(tmp_path) == "huggingface"
    (tmp_path / "adapter_config.json").write_text("{}")
    assert kind_of(tmp_path) == "adapter"
    (tmp_path / "weights.bin").touch()
    with pytest.raises(InvalidValue, match="not called"):
        kind_of(tmp_path / "weights.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValue, match=r"no config\.json"):
        kind_of(tmp_path / "empty")


def test_precisions_are_those_of_the_converters() -> None:
    assert set(MADE_BY["gguf-to-gguf"]) == set(quantize.known_types())
    assert set(MADE_BY["gguf-to-hf"]) == set(gguf_to_hf.PRECISIONS)
    assert set(MADE_BY["hf-to-onnx"]) == set(get_args(Precision))
    assert set(FLOATS) == set(hf_to_gguf.PRECISIONS)
