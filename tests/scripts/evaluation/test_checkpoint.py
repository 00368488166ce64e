"""A small checkpoint with random weights, adapters on it, and the same weights behind our server."""

from pathlib import Path

import msgspec
import pytest
import torch

from converters import hf_to_gguf
from scripts import examples
from scripts.evaluation.answers import Answer, questions
from scripts.evaluation.checkpoint import Checkpoint
from scripts.evaluation.evaluate import evaluate
from scripts.evaluation.order import Order
from scripts.finetuning import bottlenecks
from scripts.finetuning.model import load_model, without_peft_warnings
from scripts.reporting import Reporter
from server.errors import InvalidValue


def asked(target: str, data: Path, **more: int) -> list[Answer]:
    """What a target in this process answers, in the order of the examples."""
    order = Order(targets=(target,), data=data, metrics=("perplexity",), **{"max_tokens": 6, "timed": 1} | more)
    every = questions(examples.read(data / "test.jsonl")[:5], order, "")
    found = {answer.key: answer for answer in Checkpoint(target, order)(every)}
    return [found[one.key] for one in every]


def test_served_and_torch_say_the_same(small: Path, data: Path, tmp_path: Path) -> None:
    hf_to_gguf.convert(small, tmp_path / "gguf", "f32")
    [file] = (tmp_path / "gguf").glob("*.gguf")
    order = Order(
        targets=(str(file), str(small)),
        data=data,
        metrics=("exact", "perplexity"),
        max_tokens=6,
        timed=2,
        limit=6,
        out=tmp_path / "out",
    )
    made = evaluate(order, Reporter(None))
    served, loaded = made.targets
    assert [one.kind for one in made.targets] == ["artifact", "checkpoint"]
    texts = [_texts(path) for path in sorted((tmp_path / "out").glob("answers-*.jsonl"))]
    assert len(texts) == 2
    assert texts[0] == texts[1]
    assert served.metrics["perplexity"].value == pytest.approx(loaded.metrics["perplexity"].value, rel=2e-3)
    for one in made.targets:
        assert one.memory_bytes is not None
        assert one.memory_bytes > 50_000_000
        assert one.size_bytes is not None
        assert one.metrics["first_token_seconds"].value <= one.metrics["latency_seconds"].value
        assert one.metrics["tokens_per_second"].n == 2


def _texts(path: Path) -> dict[str, str]:
    read = [msgspec.json.decode(line, type=Answer) for line in path.read_bytes().splitlines()]
    return {answer.prompt: answer.text for answer in read if answer.memory is None}


def test_a_batch_is_what_each_is_alone(small: Path, data: Path) -> None:
    together, alone = asked(str(small), data, batch=8), asked(str(small), data, batch=1)
    assert [one.text for one in together] == [one.text for one in alone]
    assert [one.seconds is not None for one in together] == [True, False, False, False, False]
    assert [one.loss for one in together] == pytest.approx([one.loss for one in alone])


def test_adapters_change_what_is_said(small: Path, data: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    plain = [one.loss for one in asked(str(small), data)]
    torch.manual_seed(3)
    with without_peft_warnings():
        tuned = get_peft_model(load_model(small), LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"]))
    _shaken(tuned, "lora_B")
    tuned.save_pretrained(str(tmp_path / "lora"))
    narrow = load_model(small)
    bottlenecks.attach(narrow, 4)
    _shaken(narrow, "up.weight")
    (tmp_path / "bottleneck").mkdir()
    bottlenecks.write(narrow, tmp_path / "bottleneck", str(small))
    for name in ("lora", "bottleneck"):
        named = [one.loss for one in asked(f"{small}+{tmp_path / name}", data)]
        assert named != pytest.approx(plain, rel=1e-4)
        assert [one.loss for one in asked(str(tmp_path / name), data)] == pytest.approx(named)


def _shaken(model: torch.nn.Module, part: str) -> None:
    for name, parameter in model.named_parameters():
        if part in name:
            torch.nn.init.normal_(parameter, std=0.5)


def test_what_cannot_be_answered(small: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="leave room for the answer"):
        asked(str(small), data, max_tokens=250)
    with pytest.raises(InvalidValue, match="no folder"):
        Checkpoint(f"{tmp_path / 'gone'}+{small}", Order(targets=("x",), data=data))
