"""The tokenizer rebuilt from a GGUF file against the one that the checkpoint had, over 10,000 strings; and llama.cpp's.

The originals are built by other hands than the converters': by transformers, by SentencePiece, and as the makers of
SmolLM2 publish theirs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from converters import tokenizer_json
from converters.hf_to_gguf import convert
from server.models import gguf
from server.models.tokenizer import JsonTokenizer

from .checkpoints import Checkpoint, write_pieces, write_tokenizer
from .conftest import load, say
from .outside import PIECE_COUNT, Outside
from .test_tokenizer_json import composes
from .texts import texts

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

COUNT = 10_000
Encode = Callable[[list[str]], list[list[int]]]
Original = tuple[Path, Encode]  # a checkpoint, and how its own tokenizer encodes


def smollm2(model: Path, folder: Path) -> Original:
    """Digits one by one and GPT-2's pattern, in the words of the makers' tokenizer.json."""
    write_tokenizer(model, folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_bytes())
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, bytes_]}
    file.write_text(json.dumps(content), encoding="utf-8")
    return _saved(transformers.PreTrainedTokenizerFast.from_pretrained(folder), "Llama", folder)


def qwen2(model: Path, folder: Path) -> Original:
    """The class that transformers has for Qwen's tokenizers, over the vocabulary alone."""
    write_tokenizer(model, folder)
    content = json.loads((folder / "tokenizer.json").read_bytes())["model"]
    merges = [tuple(pair) for pair in content["merges"]]
    tokenizer = transformers.Qwen2Tokenizer(vocab=content["vocab"], merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return _saved(tokenizer, "Qwen2", folder)


def _saved(tokenizer: Any, kind: str, folder: Path) -> Original:
    tokenizer.save_pretrained(folder)
    Checkpoint(kind, {}).write(folder, max(tokenizer.get_vocab().values()) + 1)
    backend = tokenizer.backend_tokenizer  # what it calls in the end, without what it does for each text
    return folder, lambda strings: [each.ids for each in backend.encode_batch_fast(strings, add_special_tokens=False)]


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "make", "fixture"), [("smollm2", smollm2, "real_model"), ("qwen2", qwen2, "coder_model")]
)
def test_a_rebuilt_tokenizer_is_the_original(
    name: str, make: Callable[[Path, Path], Original], fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder, original = make(request.getfixturevalue(fixture), tmp_path / "original")
    made = convert(folder, tmp_path / "made").file
    strings = list(texts(COUNT, ["<|im_start|>", "<|im_end|>"], seed=11))
    wrong, others = compared(name, made, strings, original(strings), tmp_path)
    assert wrong == []
    assert [text for text in others if name != "qwen2" or not composes(text)] == []


@pytest.mark.real
@pytest.mark.timeout(300)
def test_rebuilt_pieces_are_sentencepiece_s(outside: Outside, sentencepiece: Path, tmp_path: Path) -> None:
    write_pieces(sentencepiece, tmp_path / "original")
    Checkpoint("Llama", {}).write(tmp_path / "original", PIECE_COUNT + 8)
    made = convert(tmp_path / "original", tmp_path / "made").file
    strings = [text.replace("\0", "") for text in texts(COUNT, [], seed=11)]
    wrong, others = compared("pieces", made, strings, outside.encode(sentencepiece, strings), tmp_path)
    assert (wrong, others) == ([], [])


@pytest.mark.real
@pytest.mark.timeout(300)
def test_pieces_that_tokenizer_json_alone_has_keep_their_order(sentencepiece: Path, tmp_path: Path) -> None:
    """As a training leaves them: scores are made again of the order of the merges."""
    write_pieces(sentencepiece, tmp_path / "first")
    first = convert(Checkpoint("Llama", {}).write(tmp_path / "first", PIECE_COUNT + 8), tmp_path / "before").file
    write_tokenizer(first, tmp_path / "tuned")
    original = Tokenizer.from_file(str(tmp_path / "tuned" / "tokenizer.json"))
    made = convert(Checkpoint("Llama", {}).write(tmp_path / "tuned", PIECE_COUNT + 8), tmp_path / "made").file
    strings = [text.replace("\0", "") for text in texts(COUNT, [], seed=12)]
    tokens = [each.ids for each in original.encode_batch_fast(strings, add_special_tokens=False)]
    wrong, others = compared("pieces of tokenizer.json", made, strings, tokens, tmp_path)
    assert (wrong, others) == ([], [])


def compared(
    name: str, model: Path, strings: list[str], original: list[list[int]], folder: Path
) -> tuple[list[str], list[str]]:
    """The strings that the rebuilt tokenizer does not encode as the original does, and as llama.cpp does."""
    ours, runner = rebuilt(model, folder), load("llama", model, 64)
    first = ours.encode("", special=True)  # the token that leads every text, where the model wants one
    found = [ours.encode(text, special=True) for text in strings]
    theirs = [runner.tokenizer.encode(text, special=True) for text in strings]
    runner.close()
    wrong = [text for text, mine, other in zip(strings, found, original, strict=True) if mine != first + other]
    others = [text for text, mine, other in zip(strings, found, theirs, strict=True) if mine != other]
    say(f"{name}: {len(wrong)} of {len(strings)} differ from the original, {len(others)} from llama.cpp")
    return wrong, others


def rebuilt(model: Path, folder: Path) -> JsonTokenizer:
    file = gguf.read(model)
    vocabulary = tokenizer_json.read(file)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json.build(vocabulary)), encoding="utf-8")
    return JsonTokenizer(folder, frozenset(tokenizer_json.end_ids(file, vocabulary)), vocabulary.bos)
