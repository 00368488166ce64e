"""GBNF, llama.cpp's notation of grammars, as the Lark that llguidance reads. Linear in the length of the text.

A rule that refers to no recursive one becomes a terminal, which is one regular expression and so exact. Other rules are
read with a lexer that takes the longest match.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST = 65_536  # characters; it is read between two requests
MOST_DEPTH = 100  # of parentheses

_RULE = re.compile(r"^[ \t]*[A-Za-z0-9_-]+[ \t]*::=", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\r\n]*)|(?P<line>\r\n|\r|\n)|(?P<define>::=)|(?P<name>[A-Za-z0-9_-]+)"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])|(?P<any>\.)"""
    r"""|(?P<times>[*+?]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})|(?P<open>\()|(?P<close>\))|(?P<or>\|)""",
    re.DOTALL,
)
_ESCAPE = re.compile(
    r'\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([nrt"\\\[\]\-^]))|(\\)|(.)', re.DOTALL
)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}


class GbnfError(ValueError):
    """The text is no GBNF; the message says where."""


@dataclass(slots=True)
class _Rule:
    """A rule, written as Lark but for the names of other rules."""

    name: str
    parts: list[tuple[str, bool]] = field(default_factory=list)  # text, and whether it is a name

    @property
    def named(self) -> list[str]:
        return [text for text, refers in self.parts if refers]

    def write(self, text: str, *, refers: bool = False) -> None:
        self.parts.append((text, refers))

    def lark(self, names: dict[str, str]) -> str:
        return " ".join(names[text] if refers else text for text, refers in self.parts)


def is_gbnf(text: str) -> bool:
    """Whether a grammar is GBNF: Lark has no `::=`."""
    return _RULE.search(text) is not None


def lark_of(text: str) -> str:
    """The same grammar in Lark. Raises GbnfError."""
    if len(text) > LONGEST:
        raise GbnfError(f"{len(text)} characters are more than the {LONGEST} of GBNF that are read")
    rules = _rules(text)
    if "root" not in rules:
        raise GbnfError("there is no rule 'root'")
    for rule in rules.values():
        for name in rule.named:
            if name not in rules:
                raise GbnfError(f"rule '{rule.name}' refers to '{name[:60]}', which is not defined")
    names = _names(rules, _regular(rules))
    lines = [f"{names[rule.name]}: {rule.lark(names)}" for rule in rules.values()]
    return "\n".join(["%llguidance {}", f"start: {names['root']}", *lines, ""])


def _rules(text: str) -> dict[str, _Rule]:
    tokens = list(_tokens(text))
    rules: dict[str, _Rule] = {}
    at = 0
    while at < len(tokens):
        kind, found, where = tokens[at]
        if kind == "line":
            at += 1
            continue
        if kind != "name" or at + 1 == len(tokens) or tokens[at + 1][0] != "define":
            raise GbnfError(f"{_place(text, where)}: a rule begins with its name and ::=")
        if found in rules:
            raise GbnfError(f"{_place(text, where)}: rule '{found[:60]}' is defined twice")
        rules[found] = rule = _Rule(found)
        at = _body(text, tokens, at + 2, rule)
    return rules


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise GbnfError(f"{_place(text, at)}: unexpected {text[at : at + 20]!r}")
        at = found.end()
        kind = found.lastgroup or ""
        if kind != "space":
            yield kind, found[0], found.start()


def _body(text: str, tokens: list[tuple[str, str, int]], at: int, rule: _Rule) -> int:
    """Read alternatives up to the end of the rule; the place after it.

    A line ends it, except in parentheses and after `::=` and `|`.
    """
    depth, before = 0, "or"  # what stands before: "or" and "open" want something to follow
    while at < len(tokens):
        kind, found, where = tokens[at]
        at += 1
        if kind == "line":
            if depth or before == "or":
                continue
            break
        depth += (kind == "open") - (kind == "close")
        if not 0 <= depth <= MOST_DEPTH:
            raise GbnfError(f"{_place(text, where)}: a parenthesis too many")
        if kind == "define" or (kind == "times" and before in {"or", "open", "times"}):
            raise GbnfError(f"{_place(text, where)}: unexpected {found}")
        if kind in {"or", "close"} and before in {"or", "open"}:
            rule.write('""')
        _write(text, tokens[at - 1], rule)
        before = kind
    if depth:
        raise GbnfError(f"rule '{rule.name[:60]}' leaves a parenthesis open")
    if before == "or":
        rule.write('""')
    return at


def _write(text: str, token: tuple[str, str, int], rule: _Rule) -> None:
    kind, found, where = token
    match kind:
        case "name":
            rule.write(found, refers=True)
        case "any":
            rule.write("/(?s:.)/")
        case "text":
            spelled = "".join(char for char, _ in _characters(text, found[1:-1], where))
            rule.write(json.dumps(spelled, ensure_ascii=False))
        case "set":
            rule.write(f"/{_set(text, found[1:-1], where)}/")
        case _:
            rule.write(re.sub(r"\s", "", found))


def _set(text: str, inside: str, where: int) -> str:
    """A set of characters as a regular expression; only a first `^` and a `-` between two have a meaning."""
    negated = inside.startswith("^")
    characters = list(_characters(text, inside[negated:], where))
    if not characters:
        raise GbnfError(f"{_place(text, where)}: a set of no characters")
    last = len(characters) - 1
    written = (
        char if char == "-" and plain and 0 < at < last else f"\\x{{{ord(char):X}}}"
        for at, (char, plain) in enumerate(characters)
    )
    return f"[{'^' * negated}{''.join(written)}]"


def _characters(text: str, inside: str, where: int) -> Iterator[tuple[str, bool]]:
    """Each character, and whether it stood there without a backslash."""
    for two, four, eight, simple, wrong, plain in _ESCAPE.findall(inside):
        if wrong:
            raise GbnfError(f"{_place(text, where)}: an escape that GBNF does not have")
        code = int(two or four or eight or "0", 16)
        if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            raise GbnfError(f"{_place(text, where)}: {code:X} is no character")
        yield plain or _CONTROLS.get(simple, simple) or chr(code), bool(plain)


def _regular(rules: dict[str, _Rule]) -> set[str]:
    """The rules that refer to regular rules only, however far: none of a cycle is one."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    open_references = {name: len(rule.named) for name, rule in rules.items()}
    for name, rule in rules.items():
        for referred in rule.named:
            users[referred].append(name)
    ready = [name for name, count in open_references.items() if not count]
    regular: set[str] = set()
    while ready:
        name = ready.pop()
        regular.add(name)
        for user in users[name]:
            open_references[user] -= 1
            if not open_references[user]:
                ready.append(user)
    return regular


def _names(rules: dict[str, _Rule], regular: set[str]) -> dict[str, str]:
    """A name in Lark for each rule: capital letters make a terminal. With `r_` before it none is Lark's `start`."""
    taken: set[str] = set()
    names: dict[str, str] = {}
    for number, name in enumerate(rules):
        plain = "r_" + name.lower().replace("-", "_")
        while plain in taken:  # more than once where a rule has the very name that was made up
            plain = f"{plain}_{number}_"
        taken.add(plain)
        names[name] = plain.upper() if name in regular else plain
    return names


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}"
