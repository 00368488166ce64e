"""A GGUF file in which no number of a checkpoint changes, for what is made of it next."""

from pathlib import Path

import pytest

from converters import gguf_to_hf
from converters.hf_to_gguf import convert
from server.models import gguf

from .small import Small, write


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "F32"), ("bf16", "BF16"), ("fp16", "F16")])
def test_the_type_is_the_checkpoint_s_own(precision: str, kind: str, tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", Small("llama", feed_forward=128))
    gguf_to_hf.convert(model, tmp_path / "checkpoint", precision)
    made = convert(tmp_path / "checkpoint", tmp_path / "gguf", "auto")
    assert made.file.name == f"checkpoint-{kind}.gguf"
    assert made.rounded == 0
    assert gguf.read(made.file).tensors["blk.0.attn_q.weight"].kind == kind
