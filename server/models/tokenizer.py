"""The tokenizer of a folder with `tokenizer.json`, on the `tokenizers` library."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, prod
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Fast

from ..errors import InvalidValue
from . import foundry

SPACE = "\u2581"  # SentencePiece's
LARGEST = 1 << 28
MOST_GROWTH = 16.0  # of a text by its normalizer, or any other step; a space becomes one character of three bytes
SHORT = 64  # characters of a text that a step may put so many beside
LARGEST_MAP = 1 << 20  # characters of SentencePiece's normalisation; the usual one has a third of that
_STEPS = ("normalizers", "pretokenizers", "processors", "decoders")
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")


class JsonTokenizer:
    """Text to token ids and back. Two copies of the library's: naming special tokens is a state of one."""

    def __init__(self, folder: Path, eos_ids: frozenset[int], bos_id: int | None) -> None:
        text = _read(folder / "tokenizer.json")
        content = _content(text, folder)
        refuse_growth(content, folder)
        self._with_special, self._without_special = _parsed(text, folder), _parsed(text, folder)
        self._without_special.encode_special_tokens = True
        added = self._with_special.get_added_tokens_decoder()
        self._special = frozenset(number for number, token in added.items() if token.special) | eos_ids
        self._added = {number: token.content for number, token in added.items()}
        self._byte_level = _is_byte_level(content)
        self.eos_ids = eos_ids
        self.bos_token = self._name(bos_id)
        self.eos_token = self._name(min(eos_ids, default=None))
        self.chat_template = _chat_template(folder)
        self._bytes: dict[int, bytes] = {}

    def encode(self, text: str, *, special: bool) -> list[int]:
        clean = text.encode("utf-8", "replace").decode()
        # A template that writes the leading token itself must not get a second one.
        has_bos = bool(special and self.bos_token and clean.startswith(self.bos_token))
        tokenizer = self._with_special if special else self._without_special
        with readable("The model's tokenizer cannot read this text"):
            return list(tokenizer.encode(clean, add_special_tokens=not has_bos).ids)

    def token_bytes(self, token: int) -> bytes:
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._piece(token)
        return known

    def _piece(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        piece = self._with_special.id_to_token(token)
        if piece is None:
            return b""  # a row of the head without a token
        if self._byte_level:
            return b"".join(_byte(character) for character in piece)
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return piece.replace(SPACE, " ").encode()

    def _name(self, token: int | None) -> str:
        return "" if token is None else self._with_special.id_to_token(token) or ""


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte in byte-level BPE (GPT-2's encoder.py): printable ones for themselves."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTES_OF = _byte_characters()


def _byte(character: str) -> bytes:
    """One byte, or the character itself where it stands for none: a vocabulary may hold tokens that nothing makes."""
    number = BYTES_OF.get(character)
    return character.encode() if number is None else bytes([number])


def _content(text: str, folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InvalidValue(f"{folder / 'tokenizer.json'} is no tokenizer: it is no JSON object.")
    return content


def _is_byte_level(content: dict[str, Any]) -> bool:
    decoder = content.get("decoder") or {}
    return any(part.get("type") == "ByteLevel" for part in (decoder, *decoder.get("decoders", ())))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} is larger than {LARGEST} bytes.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} cannot be read: {error}.") from None


def _parsed(text: str, folder: Path) -> Fast:
    with readable(f"{folder / 'tokenizer.json'} is no tokenizer"):
        tokenizer = Fast.from_str(text)
        # A prompt is neither cut nor filled up, whatever the file says.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode("a")  # a template of tokens that are not there shows in use only
    return tokenizer


@contextmanager
def readable(complaint: str) -> Iterator[None]:
    """Errors and panics of the library as InvalidValue: another thread's request must not end the process."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # nothing more precise is raised, and a panic is no Exception
        raise InvalidValue(f"{complaint}: {str(error)[:200]}.") from None


def refuse_growth(content: dict[str, Any], folder: Path) -> None:
    """Raises InvalidValue for a tokenizer.json with a step that makes much of little: a chain of them multiplies."""
    for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        try:
            growth = _growth(content.get(name))
        except RecursionError:
            growth = inf
        if growth > MOST_GROWTH:
            raise InvalidValue(f"{folder / 'tokenizer.json'} has a {name} that multiplies what it reads.")


def _growth(part: Any) -> float:
    """How many times as long a step can make a text of SHORT characters, at the most.

    By the keys that it has and not by its type: the library takes one without a type, or of an unknown one, for what
    its keys fit.
    """
    if not isinstance(part, dict):
        return 1.0
    growth = prod(_growth(step) for key in _STEPS if isinstance(part.get(key), list) for step in part[key])
    if "pattern" in part and "content" in part:
        pattern, content = part["pattern"], len(str(part["content"]))
        replaced = len(str(pattern.get("String") or "")) if isinstance(pattern, dict) else 0
        # an expression may find nothing, and a replacement stands before every character then
        growth *= max(1.0, content / replaced) if replaced else 1.0 + content
    if "prepend" in part:
        growth *= 1.0 + len(str(part["prepend"])) / SHORT
    if part.get("type") == "ByteLevel":
        growth *= 2.0  # of a byte it makes a character of two
    if "precompiled_charsmap" in part:
        growth *= 5.0 if len(str(part["precompiled_charsmap"])) <= LARGEST_MAP else inf
    if "" in (part.get("suffix"), part.get("word_delimiter_token")):
        growth *= 2.0  # nothing is between any two characters, and becomes a blank there
    return growth * (_template_growth(part) if "single" in part else 1.0)


def _template_growth(part: dict[str, Any]) -> float:
    """Of a template: how often it has the text, or how many tokens it puts around one of SHORT."""
    single, special = part.get("single"), part.get("special_tokens")
    texts = around = 0
    for piece in single if isinstance(single, list) else []:
        if not isinstance(piece, dict) or not isinstance(token := piece.get("SpecialToken"), dict):
            texts += 1
            continue
        entry = special.get(str(token.get("id"))) if isinstance(special, dict) else None
        ids = entry.get("ids") if isinstance(entry, dict) else None
        around += len(ids) if isinstance(ids, list) else 1
    return max(1.0, texts + around / SHORT)


def _chat_template(folder: Path) -> str | None:
    """`chat_template.jinja`, or that of tokenizer_config.json (a text, or a list of named ones), or Foundry Local's."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return _read(file)
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return foundry.chat_template(folder)
    try:
        content = json.loads(_read(config))
    except (ValueError, RecursionError):
        raise InvalidValue(f"{config} is not JSON.") from None
    found = content.get("chat_template") if isinstance(content, dict) else None
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else foundry.chat_template(folder)
