"""Prompts in, examples out: every teacher is asked, answers are checked, the most common one is kept."""

import asyncio
import hashlib
import json
import re
import time
from collections import Counter
from pathlib import Path

import httpx
import msgspec

from server.errors import CupolaError, InvalidValue
from server.models.files import storage_errors, write_atomically

from ..examples import Example, Turn, write
from ..reporting import Reporter
from .client import Failed, ask
from .journal import Journal, Reply, journal
from .order import Order

REFUSAL = re.compile(r"\b(I'm sorry|I am sorry|I cannot|I can't|I'm unable|as an AI)\b", re.IGNORECASE)


class Report(msgspec.Struct, frozen=True):
    """What it took and what came of it."""

    prompts: int
    accepted: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    rejected: dict[str, int]
    prompts_sha256: str
    order: dict[str, object]


class _Question(msgspec.Struct, frozen=True):
    key: str
    teacher: str
    seed: int
    prompt: tuple[Turn, ...]


def teach(order: Order, out: Path, reporter: Reporter) -> Report:
    """Write OUT and OUT's .report.json. Raises InvalidValue for bad prompts, CupolaError when no answer is kept."""
    started = time.monotonic()
    for teacher in order.teachers:
        if not re.fullmatch(r"https?://[^#]+#[^#]+", teacher):
            raise InvalidValue(f"'{teacher}' names no teacher; write http://127.0.0.1:5272/v1#smollm2.")
    prompts = read_prompts(order.prompts)
    with storage_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with journal(out.with_suffix(".journal.jsonl")) as kept:
            questions = [q for prompt in prompts for q in _questions(prompt, order)]
            missing = [q for q in questions if q.key not in kept.replies]
            asyncio.run(_ask_all(missing, kept, order, reporter))
            replies = {q.key: kept.replies[q.key] for q in questions}
            examples, rejected = [], Counter[str]()
            for prompt in prompts:
                text = _elect([replies[q.key] for q in _questions(prompt, order)], order, rejected)
                if text is not None:
                    name = hashlib.sha256(msgspec.json.encode(prompt)).hexdigest()[:16]
                    examples.append(Example((*prompt, Turn("assistant", text)), id=name))
            report = Report(
                len(prompts),
                len(examples),
                len(missing),
                sum(reply.prompt_tokens for reply in replies.values()),
                sum(reply.completion_tokens for reply in replies.values()),
                time.monotonic() - started,
                dict(rejected),
                hashlib.sha256(order.prompts.read_bytes()).hexdigest(),
                order.model_dump(mode="json"),
            )
            write_atomically(out.with_suffix(".report.json"), msgspec.json.encode(report).decode())
            if not examples:
                raise CupolaError(f"No answer was kept of {len(questions)}: {dict(rejected)}.")
            write(out, examples)
    return report


def read_prompts(path: Path) -> list[tuple[Turn, ...]]:
    """Lines of {"prompt": ...} or {"messages": [...]} that end in a user's turn; each once. Raises InvalidValue."""
    if not path.is_file():
        raise InvalidValue(f"There is no file {path}.")
    found: dict[tuple[Turn, ...], None] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
            turns = [{"role": "user", "content": read["prompt"]}] if "prompt" in read else read["messages"]
            prompt = msgspec.convert(turns, tuple[Turn, ...])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidValue(f"{path}, line {number} is no prompt: {error!r}.") from None
        if not prompt or prompt[-1].role != "user":
            raise InvalidValue(f"{path}, line {number}: the last message has to be the user's.")
        found[prompt] = None
    if not found:
        raise InvalidValue(f"{path} holds no prompt.")
    return list(found)


def _questions(prompt: tuple[Turn, ...], order: Order) -> list[_Question]:
    settings = (order.temperature, order.max_tokens)
    made = []
    for teacher in order.teachers:
        for seed in range(order.samples):
            key = hashlib.sha256(msgspec.json.encode((prompt, teacher, settings, seed))).hexdigest()
            made.append(_Question(key, teacher, seed, prompt))
    return made


async def _ask_all(questions: list[_Question], kept: Journal, order: Order, reporter: Reporter) -> None:
    waiting, done = iter(questions), 0

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal done
        for q in waiting:
            messages = [{"role": turn.role, "content": turn.content} for turn in q.prompt]
            try:
                got = await ask(client, q.teacher, messages, q.seed, order)
                failed = "cut at max_tokens" if got.finish == "length" else ""
                kept.add(Reply(q.key, q.teacher, got.text, failed, got.prompt_tokens, got.completion_tokens))
            except Failed as error:
                kept.add(Reply(q.key, q.teacher, failed=str(error)))
            done += 1
            reporter.step(done / len(questions), "asking")

    async with httpx.AsyncClient(trust_env=False, timeout=order.deadline) as client, asyncio.TaskGroup() as group:
        for _ in range(min(order.concurrency, len(questions))):
            group.create_task(work(client))


def _elect(replies: list[Reply], order: Order, rejected: Counter[str]) -> str | None:
    """The most common good answer of a prompt; None where none wins. Every reply that is lost is counted."""
    votes: dict[str, list[str]] = {}
    for reply in replies:
        reason = reply.failed or _wrong(reply.text, order)
        if reason:
            rejected[reason] += 1
        else:
            votes.setdefault(" ".join(reply.text.casefold().split()), []).append(reply.text)
    if not votes:
        return None
    best = max(votes.values(), key=len)
    if len(best) / len(replies) < order.agreement:
        rejected["no agreement"] += sum(map(len, votes.values()))
        return None
    return best[0]


def _wrong(text: str, order: Order) -> str:
    if not text.strip() or not order.shortest <= len(text) <= order.longest:
        return "length"
    return "refusal" if REFUSAL.search(text[:200]) else ""
