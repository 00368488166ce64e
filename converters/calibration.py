"""Importance matrices by what a user says: a file of one, a text of his, or the bundled text."""

import hashlib
import json
from importlib import resources
from pathlib import Path

from tokenizers import Tokenizer

from server.errors import InvalidValue
from server.models import gguf as reader

from . import imatrix, tokenizer_json
from .appearing import appearing_file
from .imatrix import Importance, Report

BUNDLED = "calibration.txt"
AUTO = "auto"
MOST_TOKENS = 100_000  # of a text; more take hours on a processor and change little


def importance(source: Path, wanted: str | None, report: Report) -> tuple[Importance | None, dict[str, str]]:
    """What `--imatrix` asks for, and the text it comes from by sha256. Raises InvalidValue."""
    if wanted is None:
        return None, {}
    if wanted == AUTO:
        found, dataset = _compute(source, None, report)
        return found, dataset
    path = Path(wanted)
    if not path.is_file():
        raise InvalidValue(f"There is no importance matrix {wanted}; --imatrix auto computes one.")
    return imatrix.read(path), {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def write(source: Path, target: Path, text: Path | None, report: Report) -> None:
    """Compute one and write it; the file appears whole. Raises InvalidValue, StorageFull, StorageFailed."""
    with appearing_file(target) as partial:
        found, dataset = _compute(source, text, report)
        imatrix.write(found, partial, next(iter(dataset)))


def _compute(source: Path, text: Path | None, report: Report) -> tuple[Importance, dict[str, str]]:
    words = _read(text)
    found = reader.read(source)
    vocabulary = json.dumps(tokenizer_json.build(tokenizer_json.read(found)))
    tokenizer = Tokenizer.from_str(vocabulary)
    tokens = tokenizer.encode(words, add_special_tokens=False).ids[:MOST_TOKENS]
    dataset = {text.name if text else BUNDLED: hashlib.sha256(words.encode()).hexdigest()}
    return imatrix.compute(found, tokens, report, tokenizer.encode("").ids), dataset


def _read(text: Path | None) -> str:
    if text is None:
        return resources.files(__package__).joinpath("data", BUNDLED).read_text(encoding="utf-8")
    try:
        return text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{text} is no text in UTF-8: {error}.") from None
