"""GBNF becomes Lark that llguidance enforces: the same texts match, and what is wrong is told with its line."""

import re
import time

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.gbnf import LONGEST, GbnfError, is_gbnf, lark_of

JSON = r"""root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.fixture(scope="module")
def bytewise() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


def compiled(tokenizer: llguidance.LLTokenizer, grammar: str) -> llguidance.LLMatcher:
    return llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(lark_of(grammar)), log_level=0)


CASES = [
    ('root ::= x X\nx_3_ ::= "c"\nx ::= "a"\nX ::= "b"', "ab", True),  # a rule with a name that is made up for another
    ('root ::= start r_root\nstart ::= "a"\nr_root ::= "b"', "ab", True),
    (JSON, '{"a": [1, 2.5e3, null], "b":{"c":"x\\n"}}', True),
    (JSON, "{}", True),
    (JSON, '{"a": "\x01"}', False),
    (JSON, '{"a":tru}', False),
    ('root ::= "a" "b"?', "a", True),
    ('root ::= word "ing"\nword ::= [a-z]+', "kinging", True),
    ('root ::= word "ing"\nword ::= [a-z]+', "kingin", False),
    ('root ::= "a"* "b" | ("é" . [^\\]-])+ |\n  ""', "é\nx", True),
    ('root ::= "a"* "b" | ("é" . [^\\]-])+ |\n  ""', "é\n]", False),
    ('root ::= "a"* "b" | ("é" . [^\\]-])+ |\n  ""', "", True),
    ("root ::= [a-c]{2,3}", "abc", True),
    ("root ::= [a-c]{2,3}", "a", False),
    ("root ::= [-a^]{3}", "-^a", True),
    ("root ::= [-a^]{3}", "-b-", False),
    (r'root ::= "\x41\u00e9\U0001F44D\"\\"', 'Aé👍"\\', True),
    ("root ::= foo-bar foo_bar\nfoo-bar ::= [0-9]\nfoo_bar ::= [a-z]", "1a", True),
    ('root ::= Start\nStart ::= "x" | "(" Start ")"', "((x))", True),
    ('# a comment\nroot ::= "/" # another\r\n', "/", True),
]


@pytest.mark.parametrize(("grammar", "text", "expected"), CASES)
def test_the_same_texts_match(bytewise: llguidance.LLTokenizer, grammar: str, text: str, expected: bool) -> None:
    assert is_gbnf(grammar)
    matcher = compiled(bytewise, grammar)
    assert not matcher.is_error(), matcher.get_error()
    taken = all(matcher.consume_token(byte) for byte in text.encode())
    assert (taken and matcher.is_accepting()) is expected


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ('root ::= "a', "line 1: unexpected"),
        ('x ::= "a"', "no rule 'root'"),
        ("root ::= y", "refers to 'y'"),
        ('root ::= ("a"', "leaves a parenthesis open"),
        ('root ::= "a")', "a parenthesis too many"),
        ("root ::= " + "(" * 200 + '"a"' + ")" * 200, "a parenthesis too many"),
        ('root ::= "a"\nb ::= *', r"line 2: unexpected \*"),
        ('root ::= "\\q"', "an escape that GBNF does not have"),
        (r'root ::= "\uD800"', "is no character"),
        ("root ::= []", "a set of no characters"),
        ('root ::= "a"\nroot ::= "b"', "line 2: rule 'root' is defined twice"),
        ('root ::= "a" x ::= "b"', "unexpected ::="),
        ("root ::= <think>", "unexpected '<think>'"),
        (f"root ::= {' ' * LONGEST}", "characters are more than"),
    ],
)
def test_what_is_wrong_is_told(grammar: str, message: str) -> None:
    with pytest.raises(GbnfError, match=message):
        lark_of(grammar)


@pytest.mark.parametrize("text", ['start: "a"', "%llguidance {}\nstart: /[a-z]::=/", "", "\n" * 50_000, "a " * 50_000])
def test_lark_is_not_taken_for_gbnf(text: str) -> None:
    began = time.process_time()
    assert not is_gbnf(text)
    assert time.process_time() - began < 0.5


@given(st.text(st.sampled_from('root:=ab "\\[]()-^*+?{}0123|\n#.x'), max_size=60))
def test_any_text_is_a_grammar_or_an_error(bytewise: llguidance.LLTokenizer, text: str) -> None:
    try:
        matcher = compiled(bytewise, "root ::= " + text)
    except GbnfError:
        return
    # What is left to the compiler is how much a grammar asks for, rules that never end, and sets that run backwards.
    assert not re.search("[Ee]xpected|escape|[Ss]yntax error", matcher.get_error()), text
