"""Models that are no Llama: positions without an end, other names of parts, layers that LoRA cannot change."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from scripts.finetuning.loading import load_trained
from scripts.finetuning.model import UNTOLD, context_of
from scripts.finetuning.recipe import Recipe
from scripts.finetuning.train import train
from scripts.positions import reach
from scripts.reporting import Reporter
from server.errors import InvalidValue
from server.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ENDS = {"vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
    "lfm2": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 256,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "mpt": {"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 256},
}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random model of each family."""
    folder = tmp_path_factory.mktemp("families")
    torch.manual_seed(0)
    for name, sizes in FAMILIES.items():
        config = transformers.AutoConfig.for_model(name, **sizes, **ENDS)
        model: Any = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        model.save_pretrained(folder / name)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
            (folder / name / file).write_bytes((tokenizer_folder / file).read_bytes())
    return folder


def recipe(base: Path, data: Path, **fields: Any) -> Recipe:
    quick = {"steps": 12, "batch": 8, "learning_rate": 1e-2, "precision": "fp32", "patience": None}
    return Recipe.model_validate({"base": str(base), "data": data} | quick | fields)


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("bloom", "full"),
        ("bloom", "lora"),
        ("bloom", "bottleneck"),
        ("gpt2", "lora"),
        ("gpt2", "bottleneck"),
        ("lfm2", "bottleneck"),
        ("mamba", "full"),
        ("mpt", "bottleneck"),
    ],
)
def test_every_family_learns(family: str, method: str, bases: Path, data: Path, tmp_path: Path) -> None:
    told = recipe(bases / family, data, method=method)
    made = train(told, tmp_path / "run", Settings(), Reporter(None))
    assert made.validation < made.validation_before
    again = load_trained(made.model)
    assert context_of(again) == (UNTOLD if family in ("bloom", "mamba") else 256)


def test_what_lora_cannot_change_is_answered_with_the_layers(bases: Path, data: Path, tmp_path: Path) -> None:
    told = recipe(bases / "mamba", data, method="lora")
    with pytest.raises(
        InvalidValue, match=r"lora\.targets: .*layers here: dt_proj, in_proj, lm_head, out_proj, x_proj"
    ):
        train(told, tmp_path / "run", Settings(), Reporter(None))
    named = recipe(bases / "mamba", data, method="lora", lora={"targets": ["in_proj", "x_proj"]})
    made = train(named, tmp_path / "other", Settings(), Reporter(None))
    assert made.validation < made.validation_before


def test_how_far_positions_reach() -> None:
    assert reach({"n_positions": 1024}) == 1024
    assert reach({"max_seq_len": 2048, "text_config": None}) == 2048
    assert reach({"max_position_embeddings": 1, "text_config": {"max_position_embeddings": 4096}}) == 4096
    assert reach({"state_size": 16, "max_position_embeddings": None}) is None


def test_an_end_that_is_not_told_is_asked_for(bases: Path) -> None:
    model = load_trained(bases / "mamba")
    assert context_of(model, 5000) == 5000
    model = load_trained(bases / "gpt2")
    assert context_of(model, 5000) == 256
    assert context_of(model, 100) == 100
