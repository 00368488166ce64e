"""Strings that tokenizers disagree on: scripts, emoji, marks, code, blanks, digits, control characters."""

import random
from collections.abc import Callable, Iterator, Sequence

WORDS = (
    "the of Alice don't I'LL we've She'S return def class int x1 foo_bar camelCase HTTPServer 42 3.14159 1,000,000"
    " 2024-01-01 0xDEADBEEF na\u00efve caf\u00e9 \u00dcn\u00efc\u00f6d\u00e9 \u0391\u0392\u0393"
    " \u043f\u0440\u0438\u0432\u0435\u0442 \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
    " \u0928\u092e\u0938\u094d\u0924\u0947 \u0e44\u0e17\u0e22 \u65e5\u672c\u8a9e \u6f22\u5b57\u304b\u306a"
    " \u4e2d\u6587\u5b57\u7b26 \ud55c\uad6d\uc5b4 \U0001f600 \U0001f469\u200d\U0001f467"
    " \U0001f1e9\U0001f1ea e\u0301 a\u0308\u0323 \u200b \u00bd \u00b2 \u2177 \u0661\u0662\u0663"
    " '' \" `` ?! ... -- \u2014 #include <stdio.h> {} [] () => != === && || // /* */ \\n"
).split(" ")
BLANKS = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", ""]
RANGES = [
    *[(0x20, 0x7F)] * 6,
    (0x00, 0x20),
    (0xA0, 0x250),
    (0x300, 0x400),
    (0x400, 0x530),
    (0x590, 0x700),
    (0x900, 0xA00),
    (0xE00, 0xE80),
    (0x1E00, 0x2100),
    (0x2190, 0x2C00),
    (0x3000, 0x3100),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xE000, 0xE010),
    (0x10000, 0x10200),
    (0x1F300, 0x1FAFF),
]


def texts(count: int, special: Sequence[str], seed: int = 1) -> Iterator[str]:
    """The same ones each time; `special` are names of special tokens, which some of them hold."""
    source = random.Random(seed)

    def character() -> str:
        return chr(source.randrange(*source.choice(RANGES)))

    def blanks() -> str:
        return source.choice([" " * source.randint(1, 20), "\n" * source.randint(1, 5), *BLANKS, "a", "1", "."])

    kinds: list[Callable[[], str]] = [
        lambda: source.choice(WORDS) + " ",
        lambda: source.choice(WORDS) + source.choice(BLANKS),
        character,
        blanks,
        lambda: str(source.random() * 10 ** source.randint(0, 12)),
        lambda: source.choice([*special, source.choice(WORDS), " "]),
    ]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield "".join(kind() for _ in range(source.randint(1, 20)))
