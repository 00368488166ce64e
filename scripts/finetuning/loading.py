"""What a training wrote, as a model to run: a checkpoint, or an adapter in its base."""

import json
from pathlib import Path
from typing import Any

from server.errors import InvalidValue

from . import bottlenecks
from .model import load_model, without_peft_warnings

ADAPTER = "adapter_config.json"


def load_trained(folder: Path, base: Path | None = None) -> Any:
    """In fp32, for inference. `base`: of an adapter, where it is not where it was. Raises InvalidValue."""
    if (folder / bottlenecks.CONFIG).is_file():
        model = load_model(base or _base(folder / bottlenecks.CONFIG, "base"))
        bottlenecks.restore(model, folder)
    elif (folder / ADAPTER).is_file():
        from peft import PeftModel

        under = load_model(base or _base(folder / ADAPTER, "base_model_name_or_path"))
        with without_peft_warnings():
            model = PeftModel.from_pretrained(under, folder).merge_and_unload()
    else:
        model = load_model(folder)
    return model.eval()


def _base(config: Path, field: str) -> Path:
    named = json.loads(config.read_text("utf-8")).get(field)
    if not named or not Path(named).is_dir():
        raise InvalidValue(f"{config.parent} is an adapter of {named}, which is not here; name its base.")
    return Path(named)
