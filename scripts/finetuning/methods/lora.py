"""Low-rank adapters beside frozen weights, by PEFT; what is saved is PEFT's folder."""

from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from server.errors import InvalidValue

from ..model import load_model, without_peft_warnings
from ..recipe import Recipe


def prepare(recipe: Recipe, base: Path) -> Any:
    """The checkpoint with adapters that change nothing yet."""
    return adapted(load_model(base), recipe)


def adapted(model: Any, recipe: Recipe) -> Any:
    """Raises InvalidValue for targets that the model does not have."""
    lora = recipe.lora
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides by the rank, and takes a float
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
    )
    there = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    try:
        with without_peft_warnings():
            made = get_peft_model(model, config)
    except ValueError as error:
        told = " ".join(str(error).split())
        raise InvalidValue(f"lora.targets: {told} The linear layers here: {', '.join(sorted(there))}.") from None
    if recipe.gradient_checkpointing:
        made.enable_input_require_grads()
    return made


def save(model: Any, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors, without PEFT's empty form of a model card."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
