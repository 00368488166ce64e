"""What a training does not take, and what it does not make."""

from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError

from converters import appearing
from scripts.examples import Example, Turn
from scripts.finetuning.encoding import Encoder, load_tokenizer
from scripts.finetuning.recipe import Recipe
from scripts.finetuning.resuming import claim, held
from scripts.finetuning.train import train
from scripts.reporting import Reporter
from server.errors import CupolaError, InvalidValue
from server.settings import Settings


class Refusing:
    """A tokenizer whose template wants no message of the system; a letter is a token."""

    chat_template = "is there"

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        raise TemplateError("System role not supported")

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(map(ord, text))}


@pytest.mark.real
def test_a_loss_that_is_no_number_leaves_no_model(small: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def broken(logits, targets):\n    return logits.sum() * float('nan')\n")
    told = {"base": str(small), "data": data, "loss": f"{tmp_path / 'broken.py'}:broken", "steps": 2, "method": "full"}
    with pytest.raises(CupolaError, match="came to a loss that is no number"):
        train(Recipe.model_validate(told), tmp_path / "run", Settings(), Reporter(None))
    assert not (tmp_path / "run" / "model").exists()


def test_one_run_at_a_time_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearing, "PATIENCE", 0)
    said = pytest.raises(InvalidValue, match="Another process is training in")
    with held(tmp_path / "run"), said, held(tmp_path / "run"):
        pass
    with held(tmp_path / "run"):
        pass


def test_other_weights_under_the_same_name_are_another_training(tmp_path: Path) -> None:
    weights, told = tmp_path / "model.safetensors", Recipe(base=str(tmp_path), data=tmp_path)
    for content in (b"one", b"one"):
        weights.write_bytes(content)
        claim(tmp_path / "run", told, tmp_path)
    weights.write_bytes(b"another")
    with pytest.raises(InvalidValue, match="holds a training with another base_sha256"):
        claim(tmp_path / "run", told, tmp_path)


def test_a_template_that_refuses_is_said_and_of_one_token_nothing_is_learned() -> None:
    encoder = Encoder(Refusing(), 256)
    with pytest.raises(InvalidValue, match="refuses the conversation of 'yes': System role not supported"):
        encoder.one(Example((Turn("system", "s"), Turn("user", "u"), Turn("assistant", "yes"))))
    with pytest.raises(InvalidValue, match="'a' is one token"):
        encoder.one(Example(text="a"))


def test_a_damaged_tokenizer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 5}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidValue, match="has no tokenizer that can be loaded"):
        load_tokenizer(tmp_path)
