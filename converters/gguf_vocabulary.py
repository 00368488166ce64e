"""The tokenizer of a checkpoint as the keys of a GGUF file, as llama.cpp's own converter writes them.

Two kinds, as in `tokenizer_json`: byte-level BPE (`gpt2`), and pieces with scores (`llama`), from tokenizer.model or,
where a training wrote tokenizer.json alone, from that.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from server.errors import InvalidValue
from server.models.tokenizer import readable, refuse_growth

from . import sentencepiece_model
from .checkpoint import Checkpoint, read_json
from .pre_tokenizers import name_of
from .tokenizer_json import BYTE, CONTROL, NORMAL, SPACE, UNUSED, USER_DEFINED

_BYTE_NAME = re.compile("<0x[0-9A-Fa-f]{2}>")
_CONTROLS = frozenset({"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
ADDED_SCORE, NO_SCORE = -1000.0, -10000.0


@dataclass(slots=True)
class Tokens:
    """The vocabulary; `scores` are of pieces alone. `space_prefix`: None where the file is to say nothing."""

    model: str
    cut: str
    tokens: list[str]
    types: list[int]
    scores: list[float] = field(default_factory=list)
    space_prefix: bool | None = None


def read(checkpoint: Checkpoint, architecture: str, size: int) -> Tokens:
    """The vocabulary of a checkpoint whose embedding has `size` rows. Raises InvalidValue for one of another kind."""
    config = _optional(checkpoint.folder / "tokenizer_config.json")
    pieces = checkpoint.folder / "tokenizer.model"
    if pieces.is_file() and not (architecture == "phi3" and config.get("tokenizer_class") == "GPT2Tokenizer"):
        found = _of_pieces(sentencepiece_model.read(pieces), checkpoint.folder, architecture, size)
    else:
        found = _of_json(checkpoint.folder, size)
    stated = config.get("add_prefix_space")
    if architecture == "gemma3" and found.model == "llama":
        found.space_prefix = False
    elif architecture == "llama" and isinstance(stated, bool) and found.space_prefix is None:
        found.space_prefix = stated
    return found


def _of_json(folder: Path, size: int) -> Tokens:
    content = read_json(folder / "tokenizer.json")
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or "merges" not in model:
        raise InvalidValue(
            f"{folder.name} has a tokenizer that is no BPE; llama.cpp reads those of these models alone."
        )
    refuse_growth(content, folder)
    with readable(f"{folder / 'tokenizer.json'} is no tokenizer"):
        return _of_tokenizer(folder, content, Tokenizer.from_str(json.dumps(content)), size)


def _of_tokenizer(folder: Path, content: dict[str, Any], tokenizer: Tokenizer, size: int) -> Tokens:
    names = {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    if names and max(names) >= size:
        raise InvalidValue(
            f"{folder.name} has a token {max(names)} and an embedding of {size} rows; resize the embeddings to the"
            " tokenizer."
        )
    if content["model"].get("byte_fallback"):
        return _json_pieces(content, tokenizer, names, size)
    cut = name_of(tokenizer, content.get("pre_tokenizer"))
    if cut is None:
        raise InvalidValue(f"{folder.name} cuts text in a way that llama.cpp has no name for (pre_tokenizer).")
    added = tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for number in range(size):
        token, kind = _byte_level(number, names, added, tokenizer)
        tokens.append(token)
        types.append(kind)
    return Tokens("gpt2", cut, tokens, types)


def _byte_level(
    number: int, names: dict[int, str], added: dict[int, AddedToken], tokenizer: Tokenizer
) -> tuple[str, int]:
    """A token and its type. Rows of the embedding without one are named, since llama.cpp wants a token for each."""
    token = names.get(number)
    if token is None:
        return f"[PAD{number}]", UNUSED
    flags = added.get(number)
    if flags is None:
        return token, NORMAL
    if not flags.normalized:  # llama.cpp looks for it in texts as they are
        token = tokenizer.decode(tokenizer.encode(token, add_special_tokens=False).ids, skip_special_tokens=False)
    return (token, CONTROL) if flags.special or looks_special(token) else (token.replace(SPACE, " "), USER_DEFINED)


def looks_special(token: str) -> bool:
    """Some makers do not mark their control tokens as special."""
    enclosed = (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))
    return token in _CONTROLS or any(token.startswith(start) and token.endswith(end) for start, end in enclosed)


def _json_pieces(content: dict[str, Any], tokenizer: Tokenizer, names: dict[int, str], size: int) -> Tokens:
    """Pieces without their model: the earlier a merge comes, the better the piece that it makes."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(content["model"]["merges"]):
        ranks.setdefault("".join(merge.split(" ", 1) if isinstance(merge, str) else merge), rank)
    worst = float(len(ranks) + 1)
    added = tokenizer.get_added_tokens_decoder()
    found = Tokens("llama", "default", [], [], [], _prefixed(content))
    for number in range(size):
        token = names.get(number)
        flags = added.get(number)
        if token is None:
            entry = (f"[PAD{number}]", UNUSED, NO_SCORE)
        elif _BYTE_NAME.fullmatch(token):
            entry = (token, BYTE, 0.0)
        elif flags is None:
            entry = (token, NORMAL, -float(ranks.get(token, worst)))
        elif flags.special or looks_special(token):
            entry = (token, CONTROL, ADDED_SCORE)
        else:
            entry = (token.replace(SPACE, " "), USER_DEFINED, ADDED_SCORE)
        found.tokens.append(entry[0])
        found.types.append(entry[1])
        found.scores.append(entry[2])
    return found


def _prefixed(content: dict[str, Any]) -> bool:
    """Whether a text gets a blank before its first word."""
    steps = [content.get("normalizer"), content.get("pre_tokenizer")]
    while steps:
        step = steps.pop()
        if not isinstance(step, dict):
            continue
        if step.get("type") == "Prepend" or step.get("prepend_scheme") in {"always", "first"}:
            return True
        steps += [*(step.get("normalizers") or ()), *(step.get("pretokenizers") or ())]
    return False


def _of_pieces(pieces: list[sentencepiece_model.Piece], folder: Path, architecture: str, size: int) -> Tokens:
    """A model of SentencePiece, and what was added to it since."""
    found = Tokens("llama", "default", [f"[PAD{i}]" for i in range(size)], [UNUSED] * size, [NO_SCORE] * size)
    for number, piece in zip(range(size), pieces, strict=False):
        found.tokens[number], found.types[number], found.scores[number] = piece.text, piece.kind, piece.score
    for token, number in _optional(folder / "added_tokens.json").items():
        _put(found, number, token, USER_DEFINED)
    config = _optional(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    added = [(int(number), entry) for number, entry in config.items() if number.isdecimal()]
    if architecture == "phi3":
        listed = _optional(folder / "tokenizer.json").get("added_tokens", [])
        added += [(entry.get("id"), entry) for entry in listed]
    for number, entry in added:
        token = str(entry.get("content"))
        if entry.get("special") or (architecture != "phi3" and looks_special(token)):
            _put(found, number, token, CONTROL)
        else:
            _put(found, number, token if architecture == "phi3" else token.replace(SPACE, " "), USER_DEFINED)
    return found


def _put(found: Tokens, number: object, token: str, kind: int) -> None:
    """Name a token that was added; those beyond the embedding have no row to be one."""
    if isinstance(number, int) and 0 <= number < len(found.tokens):
        found.tokens[number], found.types[number], found.scores[number] = token, kind, ADDED_SCORE


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
