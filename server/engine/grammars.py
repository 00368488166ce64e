"""What llguidance is given to compile, and its words when it cannot. Shared with the process that tries a grammar."""

import json
from collections.abc import Callable
from typing import Any

import llguidance

from ..chat.tools.grammar import thought_before, with_tokens
from ..errors import InvalidValue
from ..json_schemas import tuned
from ..types import Grammar

ANSWER = "cupola_answer"  # what the grammar behind a thought is called; a name of ours alone
LONGEST_MESSAGE = 400
LEXER_STATES = 50_000  # of 1 to 2 kB; the other limits are the library's own


def limits() -> llguidance.LLParserLimits:
    return llguidance.LLParserLimits(max_lexer_states=LEXER_STATES, verbose_errors=False)


def source_of(grammar: Grammar, token: Callable[[str], int | None]) -> str:
    """What llguidance compiles; `token` says which texts are special tokens. Raises InvalidValue for no schema.

    Only grammars of ours are edited. One behind a thought is compiled beside that of the thought and not into it.
    """
    answer = _answer(grammar, token)
    if grammar.thought == "none":
        return json.dumps({"grammars": [answer]})
    thought = with_tokens(thought_before(ANSWER, inside=grammar.thought == "inside"), token)
    return json.dumps({"grammars": [{"lark_grammar": thought}, {"name": ANSWER, **answer}]})


def _answer(grammar: Grammar, token: Callable[[str], int | None]) -> dict[str, Any]:
    """The grammar without what may come before it, as a member of llguidance's list."""
    if grammar.kind == "lark":
        if f"@{ANSWER}" in grammar.source:
            raise InvalidValue(f"{grammar.param}: @{ANSWER} is a name of the server's own.", param=grammar.param)
        return {"lark_grammar": grammar.source}
    if grammar.kind == "calls":
        return {"lark_grammar": with_tokens(grammar.source, token)}
    if grammar.kind == "regex":
        whole = json.loads(llguidance.LLMatcher.grammar_from_regex(grammar.source))
        return {"lark_grammar": whole["grammars"][0]["lark_grammar"]}
    try:
        return {"json_schema": tuned(json.loads(grammar.source), grammar.param)}
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{grammar.param}: {str(error)[:LONGEST_MESSAGE]}", param=grammar.param) from None


def first_line(matcher: llguidance.LLMatcher) -> str:
    """Why a matcher is in error."""
    lines = [line.strip() for line in matcher.get_error().splitlines() if line.strip()]
    return (lines[0] if lines else "it gives no reason")[:LONGEST_MESSAGE]
