"""How a form becomes part of a grammar."""

import pytest

from server.api.prompting import _answer
from server.engine.guidance import Guides
from server.runners.fake import VOCABULARY, FakeTokenizer
from server.types import Grammar


@pytest.mark.parametrize("source", ["a/b", r"a\/b", r"[/]a\\/", "a"])
def test_a_slash_does_not_end_a_regular_expression(source: str) -> None:
    """The same text is allowed as by the expression itself."""
    guides = Guides(FakeTokenizer(), VOCABULARY)
    alone = guides.compile(Grammar("regex", source))
    inside = guides.compile(Grammar("lark", f"start: {_answer(Grammar('regex', source))}\n"))
    while not alone.finished:
        allowed = alone.allowed(99, 100)
        assert (allowed == inside.allowed(99, 100)).all()
        token = int(allowed.argmax())
        alone.accept(token)
        inside.accept(token)
    assert inside.finished
