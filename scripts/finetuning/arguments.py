"""A recipe in transformers' words."""

from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from server.errors import InvalidValue

from .processes import on_processor, processes
from .recipe import Recipe

VALIDATION = "eval_loss"  # transformers' name of the loss on the validation examples


def check(recipe: Recipe) -> None:
    """Raises InvalidValue for what this device and these processes cannot do, before anything is loaded."""
    shares(recipe, int(processes().num_processes))
    _precision(recipe)
    gpus = torch.cuda.device_count()
    if gpus > 1 and processes().distributed_type == DistributedType.NO:  # DataParallel would multiply the batch
        raise InvalidValue(
            f"There are {gpus} GPUs: start a process for each, torchrun --nproc-per-node {gpus} -m scripts ..., or show"
            " one GPU only, CUDA_VISIBLE_DEVICES=0."
        )


def shares(recipe: Recipe, count: int) -> tuple[int, int]:
    """Examples in memory at once, and how often a step, for each of `count` processes. Raises InvalidValue."""
    share, rest = divmod(recipe.batch, count)
    if rest:
        raise InvalidValue(f"batch {recipe.batch} is no multiple of {count} processes.")
    micro = min(recipe.micro_batch or share, share)
    if share % micro:
        raise InvalidValue(
            f"batch {recipe.batch} is {share} for each of {count} processes, no multiple of micro_batch {micro}."
        )
    return micro, share // micro


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
    micro, accumulated = shares(recipe, count)
    has_gpu = torch.cuda.is_available()
    return {
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": accumulated,
        "use_cpu": on_processor(),
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
    if precision == "fp16" and on_processor():
        raise InvalidValue("precision: fp16 is for GPUs; a processor computes in fp32 or bf16.")
    told: dict[str, Any] = {"bf16": precision == "bf16", "fp16": precision == "fp16"}
    if recipe.gradient_checkpointing:
        told |= {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}}
    return told


def _measured(recipe: Recipe, steps: int) -> dict[str, Any]:
    """Validations and checkpoints go together, so that the best of one is in the other; there is one at least."""
    every = min(recipe.evaluate_every or max(1, steps // 10), steps)
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
