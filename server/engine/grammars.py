"""What llguidance is given to compile, and its words when it cannot. Shared with the process that tries a grammar."""

import json
from collections.abc import Callable

import llguidance

from ..chat.tools.grammar import with_tokens
from ..errors import InvalidValue
from ..json_schemas import tuned
from ..types import Grammar

LONGEST_MESSAGE = 400
LEXER_STATES = 50_000  # of 1 to 2 kB; the other limits are the library's own


def limits() -> llguidance.LLParserLimits:
    return llguidance.LLParserLimits(max_lexer_states=LEXER_STATES, verbose_errors=False)


def source_of(grammar: Grammar, token: Callable[[str], int | None]) -> str:
    """What llguidance compiles; `token` says which texts are special tokens. Raises InvalidValue for no schema."""
    if grammar.kind == "regex":
        return llguidance.LLMatcher.grammar_from_regex(grammar.source)
    if grammar.kind == "lark":
        return llguidance.LLMatcher.grammar_from_lark(with_tokens(grammar.source, token))
    try:
        schema = tuned(json.loads(grammar.source), grammar.param)
        return llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{grammar.param}: {str(error)[:LONGEST_MESSAGE]}", param=grammar.param) from None


def first_line(matcher: llguidance.LLMatcher) -> str:
    """Why a matcher is in error."""
    lines = [line.strip() for line in matcher.get_error().splitlines() if line.strip()]
    return (lines[0] if lines else "it gives no reason")[:LONGEST_MESSAGE]
