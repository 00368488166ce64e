"""`tokenizer.json` rebuilt from the vocabulary of a GGUF file, for the `tokenizers` library.

Two kinds: byte-level BPE (`gpt2`: merges are in the file, text is cut by the patterns of `cuts`) and SentencePiece BPE
(`llama`: merges follow from the pieces and their scores). Tests compare with the models' own tokenizers, and with
that of llama.cpp, which is another in places; docs/converters.md counts them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.errors import InvalidValue
from server.models.gguf import Gguf
from server.models.tokenizer import BYTES_OF

from .cuts import COMPOSED, PATTERNS, WHOLE_WORDS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"
LONGEST_PIECE = 512  # characters; merges are tried at every place of a piece
# Tokens that end a turn, by name: chat models end with one that the file's eos id need not be. The last line is of code
# models, where a text ends when the next file begins. As in llama.cpp's src/llama-vocab.cpp.
ENDS = frozenset(
    "<|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <|eom_id|> </s> <eos> <EOT> _<EOT>"
    " <end_of_utterance> <\uff5cend\u2581of\u2581sentence\uff5c>"
    " <|fim_pad|> <fim_pad> <fim-pad> <|fim_repo|> <|repo_name|> <reponame> <fim-repo> <|file_sep|>".split()
)
# Others that are control tokens by their name, whatever type the file gives them.
MARKS = frozenset(
    "<|fim_prefix|> <fim_prefix> <fim-prefix> <|fim_suffix|> <fim_suffix> <fim-suffix> <|fim_middle|> <fim_middle>"
    " <fim-middle> <\uff5cfim\u2581begin\uff5c> <\uff5cfim\u2581hole\uff5c> <\uff5cfim\u2581end\uff5c>".split()
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a file, each different, with ggml's type of each and the scores of SentencePiece."""

    kind: str
    cut: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]
    bos: int | None
    unknown: int | None
    leads: bool  # a text starts with the bos token
    space_prefix: bool
    strips: bool  # blanks after a control token belong to it


def read(gguf: Gguf) -> Vocabulary:
    """Raises InvalidValue for a vocabulary that cannot be rebuilt."""
    metadata, file = gguf.metadata, gguf.path.name
    kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise InvalidValue(f"{file} has no vocabulary.")
    if not isinstance(kind, str) or kind not in {"gpt2", "llama"}:
        raise InvalidValue(f"{file} has a vocabulary of type {str(kind)[:60]!r}. Those that convert: gpt2, llama.")
    if not isinstance(cut, str) or (kind == "gpt2" and cut not in PATTERNS):
        raise InvalidValue(
            f"{file} cuts text in the way {str(cut)[:60]!r}. Those that convert: {', '.join(sorted(PATTERNS))}."
        )
    tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(tokens)]
    if len(set(tokens)) != len(tokens):
        raise InvalidValue(f"{file} has {len(tokens) - len(set(tokens))} tokens that appear twice.")
    types, pieces = _types(gguf, tokens), kind == "llama"
    return Vocabulary(
        kind,
        cut,
        tokens,
        types,
        _numbers(gguf, "scores", len(tokens)) if pieces else [],
        [] if pieces else _merges(gguf, {token for token, kind in zip(tokens, types, strict=True) if kind != UNUSED}),
        token_id(gguf, "bos", len(tokens)),
        token_id(gguf, "unknown", len(tokens)),
        _flag(gguf, "add_bos_token", pieces or cut in WHOLE_WORDS),
        _flag(gguf, "add_space_prefix", pieces) and pieces,
        any(name in str(metadata.get("general.name", "")).lower() for name in ("phi-3", "phi3")),
    )


def build(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of tokenizer.json."""
    pipeline = _byte_level(vocabulary) if vocabulary.kind == "gpt2" else _sentencepiece(vocabulary)
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(vocabulary)}
    return head | pipeline | {"post_processor": _leading(vocabulary)}


def added(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Tokens that are found in a text before it is cut: control tokens (special), and those a user defined."""
    flags = {"single_word": False, "lstrip": False, "normalized": False}
    kept = ("<unk>", "<s>", "<|endoftext|>")
    return [
        {
            "id": number,
            "content": token,
            "special": kind != USER_DEFINED,
            "rstrip": vocabulary.strips and token not in kept,
            **flags,
        }
        for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if kind in {CONTROL, USER_DEFINED, UNKNOWN}
    ]


def end_ids(gguf: Gguf, vocabulary: Vocabulary) -> list[int]:
    """Every token that ends a turn: the file's own first, then those with a name that says so."""
    count = len(vocabulary.tokens)
    own = [token_id(gguf, name, count) for name in ("eos", "eot", "eom")]
    named = [number for number, token in enumerate(vocabulary.tokens) if token in ENDS]
    ends = list(dict.fromkeys([number for number in own if number is not None] + named))
    if not ends:
        raise InvalidValue(f"{gguf.path.name} has no token that ends a text.")
    return ends


def token_id(gguf: Gguf, name: str, count: int) -> int | None:
    """`tokenizer.ggml.<name>_token_id`, if it is one of the vocabulary."""
    number = gguf.metadata.get(f"tokenizer.ggml.{name}_token_id")
    if number is not None and not (isinstance(number, int) and 0 <= number < count):
        raise InvalidValue(f"{gguf.path.name}: the {name} token is not one of its {count} tokens.")
    return number


def _flag(gguf: Gguf, name: str, default: bool) -> bool:
    value = gguf.metadata.get(f"tokenizer.ggml.{name}", default)
    if not isinstance(value, bool):
        raise InvalidValue(f"{gguf.path.name}: tokenizer.ggml.{name} is neither true nor false.")
    return value


def _numbers(gguf: Gguf, name: str, count: int) -> list[float]:
    """One finite number a token."""
    found = gguf.metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, np.ndarray) or len(found) != count or not np.isfinite(found).all():
        raise InvalidValue(f"{gguf.path.name}: tokenizer.ggml.{name} is not a number for each of {count} tokens.")
    return [float(value) for value in found]


def _types(gguf: Gguf, tokens: list[str]) -> list[int]:
    """All normal where the file does not say; control tokens also by their name."""
    if "tokenizer.ggml.token_type" in gguf.metadata:
        types = [int(value) for value in _numbers(gguf, "token_type", len(tokens))]
    else:
        types = [NORMAL] * len(tokens)
    return [CONTROL if token in ENDS or token in MARKS else kind for token, kind in zip(tokens, types, strict=True)]


def _merges(gguf: Gguf, known: set[str]) -> list[str]:
    """Pairs of tokens in order of their rank, each a token together."""
    merges = gguf.metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise InvalidValue(f"{gguf.path.name} has no merges.")
    for merge in merges:
        left, _, right = merge.partition(" ")
        if left not in known or right not in known or left + right not in known:
            raise InvalidValue(f"{gguf.path.name} merges {merge[:60]!r}, which are no tokens.")
    return merges


def _byte_level(vocabulary: Vocabulary) -> dict[str, Any]:
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    used = {token: i for i, token in enumerate(vocabulary.tokens) if vocabulary.types[i] != UNUSED}
    model = {
        "type": "BPE",
        "vocab": used,
        "merges": [merge.split(" ") for merge in vocabulary.merges],
        "ignore_merges": vocabulary.cut in WHOLE_WORDS,
    }
    lacking = "".join(character for character in BYTES_OF if character not in used)
    # A byte without a token is left out; what stood around it must not be merged then.
    gaps = [_split(f"[{re.escape(lacking)}]")] if lacking else []
    pre = {"type": "Sequence", "pretokenizers": [*map(_split, PATTERNS[vocabulary.cut]), bytes_only, *gaps]}
    normalizer = {"type": "NFC"} if vocabulary.cut in COMPOSED else None
    return {"normalizer": normalizer, "pre_tokenizer": pre, "decoder": bytes_only, "model": model}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _sentencepiece(vocabulary: Vocabulary) -> dict[str, Any]:
    prefix = vocabulary.space_prefix
    normalizers: list[dict[str, Any]] = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    model = {
        "type": "BPE",
        "unk_token": None if vocabulary.unknown is None else vocabulary.tokens[vocabulary.unknown],
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {token: number for number, token in enumerate(vocabulary.tokens)},
        "merges": [[left, right] for *_, left, right in sorted(_joints(vocabulary))],
    }
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


def _joints(vocabulary: Vocabulary) -> Iterator[tuple[float, int, int, str, str]]:
    """Every way to make a piece of two others, to be sorted: SentencePiece joins the pair whose piece scores best."""
    usable = {NORMAL, USER_DEFINED, UNUSED}
    order = {token: i for i, token in enumerate(vocabulary.tokens) if vocabulary.types[i] in usable}
    for token, number in order.items():
        for cut in range(1, min(len(token), LONGEST_PIECE)):
            left, right = token[:cut], token[cut:]
            if left in order and right in order:
                yield -vocabulary.scores[number], order[left], order[right], left, right


def _leading(vocabulary: Vocabulary) -> dict[str, Any] | None:
    """The model's own first token, where it wants one."""
    bos = vocabulary.bos
    if not vocabulary.leads or bos is None:
        return None
    name = vocabulary.tokens[bos]
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [bos], "tokens": [name]}},
    }
