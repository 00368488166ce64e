"""The vocabulary of a GGUF file."""

import ctypes
from typing import Any

from .library import llama


class LlamaTokenizer:
    """The vocabulary of a GGUF file. llama.cpp only reads it, so every method may run beside a decode."""

    def __init__(self, model: Any, *, templated: bool = True) -> None:
        """`templated`: a text may bring the leading token itself, as templates do."""
        self._vocab = llama.llama_model_get_vocab(model)
        self.vocab_size = int(llama.llama_vocab_n_tokens(self._vocab))
        self.eos_ids = frozenset(t for t in range(self.vocab_size) if llama.llama_vocab_is_eog(self._vocab, t))
        self.bos_token = self._name(llama.llama_vocab_bos(self._vocab))
        self.eos_token = self._name(llama.llama_vocab_eos(self._vocab))
        template = llama.llama_model_chat_template(model, None)
        self.chat_template = template.decode("utf-8", "replace") if template else None
        self._adds_bos = templated and bool(llama.llama_vocab_get_add_bos(self._vocab))
        self._bytes: dict[int, bytes] = {}

    def encode(self, text: str, *, special: bool) -> list[int]:
        # A template that writes the leading token itself must not get a second one.
        has_bos = bool(self._adds_bos and special and self.bos_token and text.startswith(self.bos_token))
        raw = text.encode("utf-8", "replace")
        capacity = len(raw) + 16
        while True:
            tokens = (llama.llama_token * capacity)()
            count = llama.llama_tokenize(self._vocab, raw, len(raw), tokens, capacity, not has_bos, special)
            if count >= 0:
                return list(tokens[:count])
            capacity = -count

    def token_bytes(self, token: int) -> bytes:
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._piece(token)
        return known

    def _piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def _name(self, token: int) -> str:
        if token < 0:
            return ""
        return bytes(llama.llama_vocab_get_text(self._vocab, token)).decode("utf-8", "replace")
