"""LoRA adapters in GGUF, of which a context computes with one at a time."""

import ctypes
from collections import deque
from pathlib import Path
from typing import Any

from ...errors import InvalidValue, LoadFailed
from ...models import gguf
from .library import llama


class Adapters:
    """The adapters of one model, by number in order of loading; they are freed with it. None is the model as it is.

    Setting one costs little by itself, but llama.cpp then plans the next call anew.
    """

    def __init__(self, model: Any, errors: deque[str]) -> None:
        self._model, self._errors = model, errors
        self._loaded: list[tuple[Any, float]] = []  # with the scale of each
        self.active: int | None = None

    def load(self, path: Path, scale: float) -> int:
        """Read a file. Raises LoadFailed if it is none, or not for this model."""
        _refuse_strange(path)
        self._errors.clear()
        adapter = llama.llama_adapter_lora_init(self._model, str(path).encode())
        if not adapter:
            reason = "; ".join(self._errors) or "it gave no reason"
            raise LoadFailed(f"llama.cpp cannot load the adapter {path.name}: {reason}")
        self._loaded.append((adapter, scale))
        return len(self._loaded) - 1

    def activate(self, context: Any, adapter: int | None) -> None:
        """Compute with this one from the context's next call on."""
        if adapter == self.active:
            return
        chosen = [] if adapter is None else [self._loaded[adapter]]
        pointers = (llama.llama_adapter_lora_p_ctypes * len(chosen))(
            *(ctypes.cast(pointer, llama.llama_adapter_lora_p_ctypes) for pointer, _ in chosen)
        )
        scales = (ctypes.c_float * len(chosen))(*(scale for _, scale in chosen))
        code = llama.llama_set_adapters_lora(context, pointers, len(chosen), scales)
        assert code == 0, f"llama_set_adapters_lora returned {code}"
        self.active = adapter

    def __len__(self) -> int:
        return len(self._loaded)


def _refuse_strange(path: Path) -> None:
    """Raises LoadFailed for what llama.cpp might not survive, or would take for a model."""
    try:
        found = gguf.read(path).metadata
    except InvalidValue as error:
        raise LoadFailed(error.message) from None
    if found.get("general.type") != "adapter" or found.get("adapter.type") != "lora":
        raise LoadFailed(f"{path.name} is no LoRA adapter.")
    if found.get("adapter.alora.invocation_tokens") is not None:
        raise LoadFailed(f"{path.name} is an activated LoRA (aLoRA), which is not supported.")
