"""The tokenizer of a folder: ids and bytes, templates, and files that are none."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import InvalidValue
from server.models.tokenizer import BYTES_OF, JsonTokenizer

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
BOS, END, TOOL, STRANGE = 258, 259, 260, 261


def content() -> dict[str, Any]:
    """Byte-level BPE with two merges, a special token at the start, one at the end and one that a user defined."""
    tokens = [*BYTES_OF, "th", "the", "<s>", "<|end|>", "<tool>", "\u65e5 \u672c"]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": BOS, "content": "<s>", "special": True, **FLAGS},
            {"id": END, "content": "<|end|>", "special": True, **FLAGS},
            {"id": TOOL, "content": "<tool>", "special": False, **FLAGS},
        ],
        "pre_tokenizer": BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [["t", "h"], ["th", "e"]],
        },
    }


def written(folder: Path, text: str) -> Path:
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder


def load(folder: Path) -> JsonTokenizer:
    return JsonTokenizer(folder, frozenset({END}), BOS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path, json.dumps(content()))


def test_names_are_those_of_the_ids(folder: Path) -> None:
    tokenizer = load(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.eos_ids) == ("<s>", "<|end|>", frozenset({END}))
    assert JsonTokenizer(folder, frozenset(), None).bos_token == ""
    assert JsonTokenizer(folder, frozenset({10**6}), 10**6).eos_token == ""


def test_special_tokens_are_found_where_they_are_asked_for(folder: Path) -> None:
    tokenizer = load(folder)
    assert tokenizer.encode("the<|end|>", special=True) == [BOS, 257, END]
    as_text = tokenizer.encode("the<|end|>", special=False)
    assert as_text[:2] == [BOS, 257]
    assert END not in as_text
    assert tokenizer.encode("<tool>", special=False) == [BOS, TOOL], "what a user defined is found in any text"


def test_a_text_that_starts_with_the_leading_token_gets_no_second(folder: Path) -> None:
    tokenizer = load(folder)
    assert tokenizer.encode("<s>the", special=True) == [BOS, 257]
    assert tokenizer.encode("<s>the", special=False)[:2] == [BOS, list(BYTES_OF).index("<")]
    assert tokenizer.encode("", special=True) == [BOS]


def test_bytes_are_those_of_the_text(folder: Path) -> None:
    tokenizer = load(folder)
    text = "the \u65e5\u672c\u8a9e, na\u00efve; \U0001f388\n\t\0"
    pieces = [tokenizer.token_bytes(token) for token in tokenizer.encode(text, special=False)]
    assert b"".join(pieces).decode() == text
    assert tokenizer.token_bytes(BOS) == tokenizer.token_bytes(END) == b""
    assert tokenizer.token_bytes(TOOL) == b"<tool>"
    assert tokenizer.token_bytes(STRANGE) == "\u65e5 \u672c".encode(), "characters that stand for no byte"
    assert tokenizer.token_bytes(10**6) == b"", "a row of the head without a token"


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\udbff\udbff<|end|>", "\0" * 10, "\U0010ffff", "e\u0301" * 50])
@pytest.mark.parametrize("special", [True, False])
def test_no_text_is_too_strange(text: str, special: bool, folder: Path) -> None:
    tokenizer = load(folder)
    tokens = tokenizer.encode(text, special=special)
    assert tokens[0] == BOS
    found = b"".join(map(tokenizer.token_bytes, tokens)).decode()
    clean = text.encode("utf-8", "replace").decode()
    assert found == (clean.replace("<|end|>", "") if special else clean)


def test_pieces_have_their_blanks_and_bytes(tmp_path: Path) -> None:
    tokens = ["<unk>", "<0x0A>", "<0xE2>", "\u2581the", "\u2581"]
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [], "unk_token": "<unk>"}
    decoder = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    tokenizer = load(written(tmp_path, json.dumps({"version": "1.0", "decoder": decoder, "model": model})))
    assert [tokenizer.token_bytes(t) for t in range(1, 5)] == [b"\n", b"\xe2", b" the", b" "]


def test_many_threads_may_use_it_at_once(folder: Path) -> None:
    tokenizer = load(folder)
    texts = [f"the {number}<|end|>" * 20 for number in range(200)]
    expected = [(tokenizer.encode(text, special=True), tokenizer.encode(text, special=False)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        marked = pool.map(lambda text: tokenizer.encode(text, special=True), texts)
        plain = pool.map(lambda text: tokenizer.encode(text, special=False), texts)
        assert list(zip(marked, plain, strict=True)) == expected


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({}, None),
        ({"chat_template.jinja": "A"}, "A"),
        ({"tokenizer_config.json": '{"chat_template": "B"}'}, "B"),
        ({"chat_template.jinja": "A", "tokenizer_config.json": '{"chat_template": "B"}'}, "A"),
        ({"tokenizer_config.json": "{}"}, None),
        ({"tokenizer_config.json": "[1, 2]"}, None),
        ({"tokenizer_config.json": '{"chat_template": 7}'}, None),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "default", "template": "C"}, {"name": "x"}, 7]}'}, "C"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "rag", "template": "D"}]}'}, None),
    ],
)
def test_the_chat_template_is_the_folder_s(files: dict[str, str], template: str | None, folder: Path) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    assert load(folder).chat_template == template


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"chat_template": ' * 9_000])
def test_a_configuration_that_is_no_json_is_refused(text: str, folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(text)
    with pytest.raises(InvalidValue, match=r"tokenizer_config\.json is not JSON"):
        load(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "{" * 10_000, '{"version": "1.0", "model": {"type": "BPE"}}', '{"model": {"type": "X"}}'],
)
def test_what_is_no_tokenizer_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"tokenizer\.json"):
        load(written(tmp_path, text))


def test_a_template_of_tokens_that_are_not_there_is_refused(tmp_path: Path) -> None:
    broken = content()
    broken["post_processor"]["special_tokens"] = {}
    with pytest.raises(InvalidValue, match=r"tokenizer\.json is no tokenizer"):
        load(written(tmp_path, json.dumps(broken)))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"tokenizer\.json cannot be read"):
        load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InvalidValue, match="cannot be read"):
        load(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 6000), st.characters(codec="ascii")), min_size=1, max_size=4))
def test_no_damage_is_more_than_an_error(flips: list[tuple[int, str]], tmp_path: Path) -> None:
    characters = list(json.dumps(content()))
    for at, character in flips:
        characters[at % len(characters)] = character
    try:
        tokenizer = load(written(tmp_path, "".join(characters)))
    except InvalidValue:
        return
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("the<|end|>", special=True))) is not None


def test_what_multiplies_a_text_is_refused(tmp_path: Path) -> None:
    """Six replacements of one character by thirty make gigabytes of it."""
    swell = {"type": "Replace", "pattern": {"String": "x"}, "content": "x" * 30}
    written(tmp_path, json.dumps(content() | {"normalizer": {"type": "Sequence", "normalizers": [swell] * 6}}))
    with pytest.raises(InvalidValue, match="multiplies what it reads"):
        load(tmp_path)
    harmless = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    written(tmp_path, json.dumps(content() | {"normalizer": {"type": "Sequence", "normalizers": [harmless] * 6}}))
    assert load(tmp_path).encode("a b", special=False)


def test_a_pattern_that_gives_up_is_an_error_of_its_request(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    written(
        tmp_path, json.dumps(content() | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]}})
    )
    loaded = load(tmp_path)
    with pytest.raises(InvalidValue, match="cannot read this text"):
        loaded.encode("x" * 40, special=False)
    assert loaded.encode("the", special=False)


@pytest.mark.parametrize(
    "change",
    [
        {"truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}},
        {
            "padding": {
                "strategy": {"Fixed": 500},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "t",
            }
        },
    ],
)
def test_a_prompt_is_neither_cut_nor_filled_up(tmp_path: Path, folder: Path, change: dict[str, Any]) -> None:
    text = "a longer text than three tokens"
    expected = load(folder).encode(text, special=False)
    changed = tmp_path / "changed"
    changed.mkdir()
    written(changed, json.dumps(content() | change))
    assert load(changed).encode(text, special=False) == expected
