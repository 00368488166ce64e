"""A forced call is a call by our own parser, whatever a model would say: walks at random over what may come next."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema
import llguidance
import pytest

from server.chat.tools import deepseek, functionary, generic, hermes, llama3, mistral, phi4
from server.chat.tools.base import Tool, ToolChoice
from server.chat.tools.grammar import with_tokens
from server.chat.tools.written import WrittenFormat
from server.engine.grammars import source_of
from server.errors import InvalidValue
from server.types import Grammar, Thought

from .folding import ALL, arguments_of, parse, write

EOS = 256
SPECIAL = {"<|tool_call|>": 257, "<|/tool_call|>": 258, "[TOOL_CALLS]": 259, "<tool_call>": 260, "</tool_call>": 261}
SPECIAL |= {"<think>": 262, "</think>": 263}
by_name = pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)

PLACE = Tool(
    "place",
    "",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 4},
            "unit": {"enum": ["C", 'F"\\', None, "</tool_call>"]},
            "at": {"$ref": "#/$defs/point"},
        },
        "required": ["city", "at"],
        "additionalProperties": False,
        "$defs": {
            "point": {
                "type": "array",
                "items": {"type": "integer", "minimum": -9, "maximum": 9},
                "minItems": 2,
                "maxItems": 2,
            }
        },
    },
    strict=True,
)
PLACES = Tool(
    "place_of-2",
    "",
    {
        "$ref": "#/$defs/point",
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"yes": {"type": "boolean"}},
                "required": ["yes"],
                "additionalProperties": False,
            }
        },
    },
    strict=True,
)
NOW = Tool("now", "", {"type": "object", "properties": {}, "additionalProperties": False}, strict=True)
TOOLS = (PLACE, PLACES, NOW)
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}
REQUIRED = ToolChoice("required")


class Bytes:
    """One token a byte, the end, and special tokens."""

    eos_token_id = EOS
    bos_token_id = None
    tokens = [bytes([byte]) for byte in range(256)] + [b"<eos>", *(text.encode() for text in SPECIAL)]
    special_token_ids = [EOS, *SPECIAL.values()]  # noqa: RUF012

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@pytest.fixture(scope="module")
def tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


def matcher(tokenizer: llguidance.LLTokenizer, grammar: str) -> llguidance.LLMatcher:
    made = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
    assert not made.is_error(), made.get_error()
    return made


def accepts(tokenizer: llguidance.LLTokenizer, grammar: str, text: str | Sequence[int]) -> bool:
    """Whether this whole text fulfils the grammar."""
    tokens = list(text.encode()) if isinstance(text, str) else list(text)
    state = matcher(tokenizer, grammar)
    return state.try_consume_tokens(tokens) == len(tokens) and state.is_accepting()


def walk(tokenizer: llguidance.LLTokenizer, grammar: str, seed: int, longest: int = 4000) -> str:
    """A text that the grammar allows, by fair choices, that ends as soon as it may once it is long."""
    chance = random.Random(seed)
    state = matcher(tokenizer, grammar)
    said = b""
    for step in range(longest):
        mask = state.compute_bitmask()
        allowed = [token for token in range(len(Bytes.tokens)) if mask[token // 8] >> token % 8 & 1]
        assert allowed, said
        token = EOS if EOS in allowed and step > 200 else chance.choice(allowed)
        if token == EOS:
            return said.decode()
        said += Bytes.tokens[token]
        assert state.consume_token(token)
        if state.is_stopped():
            return said.decode()
    raise AssertionError(f"it does not end: {said[-80:]!r}")


def assert_valid(form: WrittenFormat, text: str) -> list[tuple[str, Any]]:
    """The calls in the text, each of which keeps to its function's schema."""
    calls = arguments_of(parse(form, text, tools=TOOLS))
    for name, arguments in calls:
        jsonschema.validate(arguments, SCHEMAS[name])
    return calls


@by_name
@pytest.mark.parametrize("parallel", [True, False])
def test_required_gives_nothing_but_calls(
    form: WrittenFormat, parallel: bool, tokenizer: llguidance.LLTokenizer
) -> None:
    grammar = form.grammar(TOOLS, ToolChoice("required", parallel=parallel))
    numbers, names = set(), set()
    for seed in range(25):
        text = walk(tokenizer, grammar, seed)
        calls = assert_valid(form, text)
        assert parse(form, text, tools=TOOLS).text == ""
        numbers.add(len(calls))
        names |= {name for name, _ in calls}
    assert names == set(SCHEMAS)
    assert 0 not in numbers
    assert (max(numbers) > 1) is parallel


@by_name
def test_named_gives_that_name(form: WrittenFormat, tokenizer: llguidance.LLTokenizer) -> None:
    for tool in TOOLS:
        grammar = form.grammar(TOOLS, ToolChoice("named", tool.name, parallel=False))
        for seed in range(5):
            assert [name for name, _ in assert_valid(form, walk(tokenizer, grammar, seed))] == [tool.name]


@by_name
def test_what_is_refused(form: WrittenFormat, tokenizer: llguidance.LLTokenizer) -> None:
    grammar = form.grammar(TOOLS, REQUIRED)
    good = ("place", '{"city": "Bern", "unit": "C", "at": [1, -2]}')
    assert accepts(tokenizer, grammar, write(form, [good]))
    assert accepts(tokenizer, grammar, write(form, [good, ("now", "{}")]))
    for bad in (
        "",
        "Hello",
        " " + write(form, [good]),
        write(form, [good]) + "\nHello",
        write(form, [("drop", "{}")]),
        write(form, [("plac", good[1])]),
        write(form, [("place", "{}")]),
        write(form, [("place", '{"city": "Berne", "at": [1, 2]}')]),
        write(form, [("place", '{"city": "Bern", "at": ["1", 2]}')]),
        write(form, [("now", '{"a": 1}')]),
        write(form, [good])[:-1],
    ):
        assert not accepts(tokenizer, grammar, bad), bad
    one = form.grammar(TOOLS, ToolChoice("required", parallel=False))
    assert accepts(tokenizer, one, write(form, [good]))
    assert not accepts(tokenizer, one, write(form, [good, good]))
    other = form.grammar(TOOLS, ToolChoice("named", "now"))
    assert not accepts(tokenizer, other, write(form, [good]))
    assert accepts(tokenizer, other, write(form, [("now", "{}")]))


@by_name
def test_names_are_escaped(form: WrittenFormat, tokenizer: llguidance.LLTokenizer) -> None:
    schema = NOW.parameters | {"description": 'http://a # b \\n "} \u2028 */'}
    odd = Tool('a"b\\c é🙂 | %json // #', "", schema)
    grammar = form.grammar([odd], REQUIRED)
    assert accepts(tokenizer, grammar, write(form, [(odd.name, "{}")]).replace("\\u00e9\\ud83d\\ude42", "é🙂")) or (
        parse(form, walk(tokenizer, grammar, 1), tools=[odd]).calls[0] == (odd.name, "{}")
    )


def test_a_tool_without_parameters_takes_any_object(tokenizer: llguidance.LLTokenizer) -> None:
    grammar = hermes.FORMAT.grammar([Tool("free")], REQUIRED)
    for arguments in ("{}", '{"a": [1, {"b": null}]}'):
        assert accepts(tokenizer, grammar, write(hermes.FORMAT, [("free", arguments)]))
    for arguments in ("[]", "1", "null"):
        assert not accepts(tokenizer, grammar, write(hermes.FORMAT, [("free", arguments)]))


def test_no_such_function() -> None:
    with pytest.raises(InvalidValue):
        hermes.FORMAT.grammar(TOOLS, ToolChoice("named", "drop"))
    with pytest.raises(InvalidValue):
        hermes.FORMAT.grammar([], REQUIRED)


def tokens_of(*parts: str) -> list[int]:
    return [token for part in parts for token in ([SPECIAL[part]] if part in SPECIAL else list(part.encode()))]


def test_markers_become_tokens_where_the_model_has_them(tokenizer: llguidance.LLTokenizer) -> None:
    for form, parts in (
        (phi4.FORMAT, ("<|tool_call|>", '[{"name": "now", "arguments": {}}]', "<|/tool_call|>")),
        (mistral.FORMAT, ("[TOOL_CALLS]", '[{"name": "now", "arguments": {}}]')),
        (hermes.FORMAT, ("<tool_call>", '\n{"name": "now", "arguments": {}}\n', "</tool_call>")),
    ):
        spelled = form.grammar(TOOLS, REQUIRED)
        special = with_tokens(spelled, SPECIAL.get)
        assert accepts(tokenizer, spelled, "".join(parts))
        assert not accepts(tokenizer, special, "".join(parts))
        assert accepts(tokenizer, special, tokens_of(*parts))
        assert with_tokens(spelled, lambda _: None) == spelled
        auto = form.grammar_auto(TOOLS, ToolChoice())
        assert auto is not None
        auto = with_tokens(auto, SPECIAL.get)
        assert accepts(tokenizer, auto, tokens_of("Well. ", *parts))
        assert accepts(tokenizer, auto, "Well.")
        assert not accepts(tokenizer, auto, tokens_of("Well. ", parts[0], "x"))
        assert not accepts(tokenizer, auto, f"Well. {parts[0]}")


@pytest.mark.parametrize(
    "form",
    [hermes.FORMAT, generic.FORMAT, phi4.FORMAT, mistral.FORMAT, mistral.NAMED, functionary.FORMAT, deepseek.FORMAT],
    ids=lambda form: form.name,
)
def test_auto_is_free_text_with_calls_by_schema(form: WrittenFormat, tokenizer: llguidance.LLTokenizer) -> None:
    grammar = form.grammar_auto(TOOLS, ToolChoice())
    assert grammar is not None
    good = write(form, [("place", '{"city": "Bern", "at": [1, -2]}')])
    bad = write(form, [("place", '{"city": 1}')])
    for text in (
        "",
        "Hello",
        "a < b, <tool, [x]",
        '{"a": 1}',
        "[1]",
        "```json\n{}```",
        good,
        f"Well.\n{good}",
        f"{good} and {good} so.",
    ):
        assert accepts(tokenizer, grammar, text), text
    for text in (
        bad,
        f"Well. {bad}",
        f"{good}{bad}",
        f"Well. {form.shape.marker}",
        '{"name": "place", "arguments": {}}',
    ):
        assert not accepts(tokenizer, grammar, text), text
    for seed in range(5):
        assert_valid(form, walk(tokenizer, grammar, seed))
    for opening in form.layout.openings:
        loose = opening.marker + '[{"name": "place", "arguments": {}}]'
        assert not accepts(tokenizer, grammar, f"Well. {loose}")
    if form.layout.bare and form.layout.bare.separators:
        assert not accepts(tokenizer, grammar, "\nplace[ARGS] {}")
        assert not accepts(tokenizer, grammar, "now{")
    one = form.grammar_auto(TOOLS, ToolChoice(parallel=False))
    assert one is not None
    assert accepts(tokenizer, one, f"Well.\n{good} So.")
    assert not accepts(tokenizer, one, f"Well.\n{good} {good}")


def test_auto_without_a_marker_is_text_or_calls(tokenizer: llguidance.LLTokenizer) -> None:
    grammar = llama3.FORMAT.grammar_auto(TOOLS, ToolChoice())
    assert grammar is not None
    assert accepts(tokenizer, grammar, "Hello {}")
    assert accepts(tokenizer, phi4.FORMAT.grammar_auto(TOOLS, ToolChoice()) or "", "import functools")
    assert accepts(tokenizer, grammar, '{"name": "now", "parameters": {}}')
    assert not accepts(tokenizer, grammar, ' {"name": "now", "parameters": {"a": 1}}')
    assert not accepts(tokenizer, grammar, "Hello <|python_tag|>{}")


def test_auto_enforces_strict_tools_only(tokenizer: llguidance.LLTokenizer) -> None:
    loose = Tool("loose", "", PLACE.parameters)
    assert hermes.FORMAT.grammar_auto([loose], ToolChoice()) is None
    assert functionary.RECIPIENTS.grammar_auto(TOOLS, ToolChoice()) is None
    grammar = hermes.FORMAT.grammar_auto([loose, NOW], ToolChoice())
    assert grammar is not None
    assert accepts(tokenizer, grammar, write(hermes.FORMAT, [("loose", '{"a": 1}')]))
    assert not accepts(tokenizer, grammar, write(hermes.FORMAT, [("now", '{"a": 1}')]))


def behind_thought(calls: str, thought: Thought, token: Callable[[str], int | None] = lambda _: None) -> str:
    return source_of(Grammar("calls", calls, "tools", thought=thought), token)


def test_a_thought_may_come_first(tokenizer: llguidance.LLTokenizer) -> None:
    forced = hermes.FORMAT.grammar(TOOLS, REQUIRED)
    call = write(hermes.FORMAT, [("now", "{}")])
    inside, outside = behind_thought(forced, "inside"), behind_thought(forced, "may")
    assert accepts(tokenizer, inside, f"Hm {{ <tool_call>.\n</think>\n\n{call}")
    assert not accepts(tokenizer, inside, call)
    assert not accepts(tokenizer, inside, "Hm.</think>Hello")
    assert accepts(tokenizer, outside, f"<think>Hm.\n</think>{call}")
    assert accepts(tokenizer, outside, call)
    assert not accepts(tokenizer, outside, f"Hm.</think>{call}")
    special = behind_thought(forced, "may", SPECIAL.get)
    parts = ("<tool_call>", '\n{"name": "now", "arguments": {}}\n', "</tool_call>")
    assert accepts(tokenizer, special, tokens_of("<think>", "\nHm.\n", "</think>", "\n\n", *parts))
    assert accepts(tokenizer, special, tokens_of(*parts))
    auto = hermes.FORMAT.grammar_auto(TOOLS, ToolChoice())
    assert auto is not None
    assert accepts(tokenizer, behind_thought(auto, "inside"), f"Hm.</think>\nWell: {call}")


def test_schemas_keep_their_words(tokenizer: llguidance.LLTokenizer) -> None:
    grammar = hermes.FORMAT.grammar([PLACE], REQUIRED)
    line = next(line for line in grammar.splitlines() if line.startswith("call_0"))
    schema = json.loads(line[line.index("%json ") + 6 : line.rindex("}") + 1].rpartition(' "}')[0])
    assert schema["properties"] == PLACE.parameters["properties"]
    assert "x-guidance" not in PLACE.parameters
