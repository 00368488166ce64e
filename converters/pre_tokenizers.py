"""Which of llama.cpp's names says how a tokenizer cuts text: `tokenizer.ggml.pre`.

As llama.cpp's own converter (`get_vocab_base_pre` in its conversion/base.py) by a hash of how the tokenizer encodes one
text with everything in it; and where the vocabulary is another, by the patterns in tokenizer.json.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from tokenizers import Tokenizer

from .cuts import GPT2, LLAMA3, PATTERNS, QWEN2

# Blanks, emoji, digits, three scripts, quotes, contractions.
PROBE = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ (multiple"
    " emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3"
    " 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天\uff5e ------======= нещо на Български"
    " ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure?"
    " 'M not sure I'll make it, 'D you like some tea? We'Ve a'lL"
)
HASHES = {
    "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5": "llama-bpe",
    "1431a23e583c97432bc230bff598d103ddb5a1f89960c8f1d1051aaa944d0b35": "minerva-7b",
    "0e9433cbbb161f89e264eb32e8e64bfe69e834973ffca5d41d3948a604a3e2a3": "pixtral",
    "0fe1cf6eda062318a1af7270f3331a85c539a01778ff948e24388e949c5282f4": "gpt-2",
    "1994ffd01900cfb37395608534236ecd63f2bd5995d6cb1004dda1af50240f15": "trillion",
    "32d85c31273f8019248f2559fed492d929ea28b17e51d81d3bb36fff23ca72b3": "stablelm2",
    "347715f544604f9118bb75ed199f68779f423cabb20db6de6f31b908d04d7821": "deepseek-coder",
    "35d91631860c815f952d711435f48d356ebac988362536bed955d43bfa436e34": "starcoder",
    "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454": "gpt-2",
    "6221ad2852e85ce96f791f476e0b390cf9b474c9e3d1362f53a24a06dc8220ff": "refact",
    "63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e": "tekken",
    "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249": "smollm",
    "9d032fcbd5501f4a38150912590928bfb36091efb5df11b8e2124b0390e3fb1e": "falcon3",
    "b3f499bb4255f8ca19fccd664443283318f2fd2414d5e0b040fbdd0cc195d6c5": "deepseek-r1-qwen",
    "c136ed14d01c2745d4f60a9596ae66800e2b61fa45643e72436041855ad4089d": "smaug-bpe",
    "ccc2ef013c104be7bae2965776d611e1d7a8a2a9c547dd93a682c9a9fc80352e": "gpt-4o",
    "d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c": "qwen2",
    "d4c8f286ea6b520b3d495c4455483cfa2302c0cfcd4be05d781b6a8a0a7cdaf1": "megrez",
    "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea": "qwen2",
    "fcace8b9cac38ce847670c970cd5892031a753a1ef381abd1d9af00f713da085": "phi-2",
}
# The usual name where several have the same patterns.
_PREFERRED = ("gpt-2", "smollm", "llama-bpe", "qwen2")
_SPELLINGS = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)": "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
}


def name_of(tokenizer: Tokenizer, pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The name for a byte-level tokenizer whose tokenizer.json has this `pre_tokenizer`; None where none fits."""
    ids = tokenizer.encode(PROBE).ids
    by_hash = HASHES.get(sha256(str(ids).encode()).hexdigest())
    return by_hash or _by_patterns(tuple(_patterns(pre_tokenizer or {})))


def _by_patterns(found: tuple[str | None, ...]) -> str | None:
    known = [name for name, patterns in PATTERNS.items() if patterns == found]
    return next((name for name in _PREFERRED if name in known), known[0] if known else None)


def _patterns(step: dict[str, Any]) -> Iterator[str | None]:
    """The patterns of steps that cut one after the other; None for a step that is no pattern."""
    kind = step.get("type")
    if kind == "Sequence" and isinstance(step.get("pretokenizers"), list):
        for inner in step["pretokenizers"]:
            yield from _patterns(inner) if isinstance(inner, dict) else [None]
    elif kind == "ByteLevel" and not step.get("add_prefix_space"):
        if step.get("use_regex", True):
            yield GPT2
    elif kind == "Digits" and step.get("individual_digits"):
        yield r"\p{N}"
    elif kind == "Split" and isinstance(step.get("pattern"), dict):
        yield from _split(step)
    else:
        yield None


def _split(step: dict[str, Any]) -> Iterator[str | None]:
    pattern = step["pattern"].get("Regex")
    # "keep what matches" and "part at what matches" cut alike where the pattern matches everything
    alike = (step.get("behavior"), bool(step.get("invert"))) in {("Isolated", False), ("Removed", True)}
    if not isinstance(pattern, str) or not alike:
        yield None
        return
    for spelling, ours in _SPELLINGS.items():
        pattern = pattern.replace(spelling, ours)
    if not is_gap(pattern):
        yield pattern


def is_gap(pattern: str) -> bool:
    """Whether it parts at bytes that have no token (`tokenizer_json`), and is no cut of the model's."""
    return pattern.startswith("[") and pattern.endswith("]") and pattern not in _SETS


_SETS = {pattern for patterns in PATTERNS.values() for pattern in patterns} - {GPT2, LLAMA3, QWEN2}
