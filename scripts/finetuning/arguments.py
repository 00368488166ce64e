"""A recipe in transformers' words."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from server.errors import InvalidValue

from .processes import processes
from .recipe import Recipe

VALIDATION = "eval_loss"  # transformers' name of the loss on the validation examples


def arguments(recipe: Recipe, folder: Path, steps: int, *, begins: bool) -> TrainingArguments:
    """Checkpoints go into `folder`. One that begins, and does not go on, is measured before its first step."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        eval_on_start=begins,
        seed=recipe.seed,
        data_seed=recipe.seed,
        **_batches(recipe),
        **_optimiser(recipe, steps),
        **_precision(recipe),
        **_measured(recipe, steps),
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )


def _batches(recipe: Recipe) -> dict[str, Any]:
    """`batch` examples a step, over processes and accumulation. Every process has its share."""
    count = int(processes().num_processes)
    if recipe.batch % count:
        raise InvalidValue(f"batch {recipe.batch} is no multiple of {count} processes.")
    share = recipe.batch // count
    micro = min(recipe.micro_batch or share, share)
    has_gpu = torch.cuda.is_available()
    return {
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "use_cpu": not has_gpu and not torch.backends.mps.is_available(),
        "ddp_find_unused_parameters": False,
        "ddp_backend": "gloo" if count > 1 and not has_gpu else None,
        "dataloader_pin_memory": has_gpu,
    }


def _optimiser(recipe: Recipe, steps: int) -> dict[str, Any]:
    return {
        "learning_rate": recipe.rate,
        "lr_scheduler_type": "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        "warmup_steps": round(recipe.warmup * steps),
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.longest_gradient,
    }


def _precision(recipe: Recipe) -> dict[str, Any]:
    precision = chosen_precision(recipe)
    told: dict[str, Any] = {"bf16": precision == "bf16", "fp16": precision == "fp16"}
    if recipe.gradient_checkpointing:
        told |= {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}}
    return told


def _measured(recipe: Recipe, steps: int) -> dict[str, Any]:
    """Validations and checkpoints go together, so that the best of one is in the other."""
    every = recipe.evaluate_every or max(1, steps // 10)
    return {
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": recipe.patience is not None,
        "metric_for_best_model": VALIDATION,
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": 1,
    }


def chosen_precision(recipe: Recipe) -> str:
    """fp32, bf16 or fp16: what the device computes in where the recipe leaves it open."""
    if recipe.precision != "auto":
        return recipe.precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"
