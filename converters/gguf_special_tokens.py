"""Special tokens, merges and chat template of a checkpoint for a GGUF file, read by the `gguf` package.

What it says about tokens that are put around a text is made again here: the package that is released lets
tokenizer_config.json overrule the post-processor of tokenizer.json, which is what tokenizes; llama.cpp's converter has
it the other way round by now (`_try_load_from_tokenizer_json` in its gguf-py/gguf/vocab.py).
"""

from typing import Any

from gguf import SpecialVocab

from .checkpoint import Checkpoint, read_json

GRANITE = 49_152  # rows of the embedding by which llama.cpp knows small Granite models, and SmolLM: no bos


def read(checkpoint: Checkpoint, architecture: str, size: int, *, pieces: bool) -> SpecialVocab:
    """`size` is how many tokens there are. Raises InvalidValue, and what the package raises for strange values."""
    found = SpecialVocab(checkpoint.folder, load_merges=not pieces, n_vocab=size if pieces else None)
    file = checkpoint.folder / "tokenizer.json"
    if file.is_file():
        content = read_json(file)
        around = _around(content.get("post_processor"))
        found.add_special_token.update(around)
        _lead(found, checkpoint, content)
    if architecture == "llama" and size == GRANITE:
        found.add_special_token["bos"] = False
    return found


def _around(step: Any) -> dict[str, bool]:
    """Which of bos and eos the post-processor puts around a text; nothing for what it leaves open."""
    found: dict[str, bool] = {}
    if not isinstance(step, dict):
        return found
    for processor in step.get("processors", [step]):
        if processor["type"] == "ByteLevel":
            found = {"bos": False, "eos": False} | found
        elif processor["type"] == "TemplateProcessing" and len(processor["single"]) > 1:
            single = processor["single"]
            found |= {name: True for name, item in (("bos", single[0]), ("eos", single[-1])) if "SpecialToken" in item}
    return found


def _lead(found: SpecialVocab, checkpoint: Checkpoint, content: dict[str, Any]) -> None:
    """A template's first token is the bos where tokenizer_config.json names none."""
    config = checkpoint.folder / "tokenizer_config.json"
    stated = read_json(config) if config.is_file() else {}
    if not stated or stated.get("bos_token") or stated.get("cls_token"):
        return
    step = content.get("post_processor") or {}
    for processor in step.get("processors", [step]):
        first = processor.get("single", [{}])[0].get("SpecialToken", {}).get("id")
        number = next((each["id"] for each in content.get("added_tokens", []) if each["content"] == first), None)
        if first is not None and isinstance(number, int):
            found.special_token_ids["bos"] = number
