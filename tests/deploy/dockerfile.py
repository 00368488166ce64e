"""A Dockerfile as data, and what is wrong with it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

SECRET = re.compile(r"(?i)(key|token|secret|password)\w*=")
BUILD_TOOLS = re.compile(r"\b(gcc|g\+\+|make|cmake|build-essential|pip|apt-get)\b")


@dataclass(frozen=True, slots=True)
class Instruction:
    """`keyword` of a stage, numbered from 0 (-1: before the first), its --flags and what follows them."""

    stage: int
    keyword: str
    flags: tuple[str, ...]
    value: str

    @property
    def argv(self) -> list[str] | None:
        """The words of an exec form; None for a shell form."""
        text = self.value.removeprefix("CMD ") if self.keyword == "HEALTHCHECK" else self.value
        try:
            words = json.loads(text)
        except ValueError:
            return None
        return [str(word) for word in words] if isinstance(words, list) else None


def parse(text: str) -> list[Instruction]:
    """Instructions in their order. Comments and continued lines are understood, here-documents are not."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    logical = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()
    instructions, stage = [], -1
    for line in logical:
        keyword, _, rest = line.strip().partition(" ")
        stage += keyword.upper() == "FROM"
        flags = []
        while match := re.match(r"(--\S+)\s+", rest):
            flags.append(match[1])
            rest = rest[match.end() :]
        instructions.append(Instruction(stage, keyword.upper(), tuple(flags), rest.strip()))
    return instructions


def last(instructions: list[Instruction], keyword: str) -> Instruction | None:
    """The one that counts: the final stage's last."""
    final = instructions[-1].stage
    return next((i for i in reversed(instructions) if i.stage == final and i.keyword == keyword), None)


def problems(text: str) -> Iterator[str]:
    """What the house does not allow, one sentence each."""
    instructions = parse(text)
    yield from _bases(instructions)
    for instruction in instructions:
        yield from _anywhere(instruction)
    final = instructions[-1].stage
    for instruction in (i for i in instructions if i.stage == final and i.keyword == "RUN"):
        if BUILD_TOOLS.search(instruction.value):
            yield f"the final stage runs build tools: {instruction.value}"
    for keyword in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        found = last(instructions, keyword)
        if found is None:
            yield f"no {keyword}"
        elif found.argv is None or found.argv[0] in ("sh", "bash", "/bin/sh", "/bin/bash"):
            yield f"{keyword} needs a shell"
    user = last(instructions, "USER")
    if user is None or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.value):
        yield "USER is no number, or root"


def _bases(instructions: list[Instruction]) -> Iterator[str]:
    defaults = dict(
        i.value.split("=", 1) for i in instructions if i.keyword == "ARG" and i.stage == -1 and "=" in i.value
    )
    for instruction in (i for i in instructions if i.keyword == "FROM"):
        base = re.sub(r"\$\{(\w+)\}", lambda match: defaults.get(match[1], ""), instruction.value.split()[0])
        if not re.search(r":[\w.-]*\d+\.\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$", base):
            yield f"the base {base!r} is not pinned to a patch version or a digest"


def _anywhere(instruction: Instruction) -> Iterator[str]:
    if instruction.keyword == "ADD":
        yield "ADD unpacks and downloads: COPY says what it does"
    if instruction.keyword == "COPY" and instruction.value.split()[0] == ".":
        yield "COPY . takes what happens to lie there"
    if instruction.keyword in ("ENV", "ARG") and SECRET.search(instruction.value):
        yield f"a secret would stay in a layer: {instruction.value.partition('=')[0]}"
    if instruction.keyword == "RUN" and re.search(r"\bsudo\b|curl[^|]*\||wget[^|]*\|", instruction.value):
        yield f"sudo, or a download straight into a program: {instruction.value}"
    if instruction.keyword == "WORKDIR" and not instruction.value.startswith("/"):
        yield "WORKDIR is relative"
