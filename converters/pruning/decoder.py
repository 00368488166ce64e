"""A causal language model of transformers, seen as a stack of blocks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from server.errors import InvalidValue


class Decoder:
    """Owns a loaded model. Blocks are `model.model.layers`, as Llama, Mistral, Qwen, Gemma and Phi have them."""

    def __init__(self, model: Any) -> None:
        """Raises InvalidValue for a model that is laid out otherwise."""
        self.model = model
        self.config = model.config.get_text_config()
        self._stack = model.base_model
        layers = getattr(self._stack, "layers", None)
        if not isinstance(layers, nn.ModuleList) or len(layers) != self.config.num_hidden_layers:
            raise InvalidValue(f"{type(model).__name__} keeps its blocks in a way that pruning does not know.")

    @property
    def blocks(self) -> list[Any]:
        return list(self._stack.layers)

    @property
    def parameters(self) -> int:
        """Numbers in the model; tied ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """[tokens] -> [tokens, vocabulary]."""
        with torch.inference_mode():
            found: torch.Tensor = self.model(tokens[None], use_cache=False).logits[0].float()
        return found

    def keep(self, kept: Sequence[int]) -> None:
        """Leave out all other blocks; the configuration says so afterwards, and blocks are numbered anew."""
        count = len(self.blocks)
        self._stack.layers = nn.ModuleList([self.blocks[index] for index in kept])
        for index, block in enumerate(self.blocks):
            block.self_attn.layer_idx = index
        for name, value in self.config.to_dict().items():
            if isinstance(value, list) and len(value) == count and name in _PER_BLOCK:
                setattr(self.config, name, [value[index] for index in kept])
        self.config.num_hidden_layers = len(kept)

    @contextmanager
    def without(self, block: int) -> Iterator[None]:
        """The model with one block left out, until the end of the `with`."""
        layers = self._stack.layers
        saved = {name: getattr(self.config, name) for name in _PER_BLOCK if hasattr(self.config, name)}
        try:
            self.keep([index for index in range(len(layers)) if index != block])
            yield
        finally:
            self._stack.layers = layers
            self.config.num_hidden_layers = len(layers)
            for name, value in saved.items():
                setattr(self.config, name, value)
            for index, each in enumerate(layers):
                each.self_attn.layer_idx = index


_PER_BLOCK = ("layer_types", "no_rope_layers", "mlp_layer_types")  # entries of a config that have a value a block
