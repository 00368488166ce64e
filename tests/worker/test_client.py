"""A worker process seen from its parent: slow readers, cancellations, long prompts, refusals, decoys."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from server.engine.trial import SECONDS
from server.errors import ContextLengthExceeded, InvalidValue, LoadFailed, WorkerDied
from server.runners.base import Placement
from server.types import Delta, Grammar, Request, SamplingParams
from server.worker.client import Worker
from server.worker.expected import LONG_PROMPT
from server.worker.messages import Load, StepDone

LONG = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
SHORT = SamplingParams(temperature=0, max_tokens=100)


@asynccontextmanager
async def loaded(artifact: Path | None = None, slots: int = 2) -> AsyncIterator[tuple[Worker, list[StepDone]]]:
    """A worker with a fake model, and the steps that it reports."""
    steps: list[StepDone] = []
    worker = await Worker.start("fake", steps.append)
    try:
        await worker.load(Load("fake", str(artifact) if artifact else None, Placement(1, slots), 0.04))
        yield worker, steps
    finally:
        await worker.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the condition has no event of its own
        await asyncio.sleep(0.005)  # what is awaited has no event of its own


async def collect(worker: Worker, request: Request) -> list[Delta]:
    return [delta async for delta in worker.generate(request)]


def test_a_slow_reader_gets_everything_in_few_pieces() -> None:
    async def test() -> None:
        async with loaded() as (worker, steps):
            prompt = Request("1", "Tell me", LONG)
            whole = await collect(worker, prompt)
            steps.clear()
            async with aclosing(worker.generate(Request("2", "Tell me", LONG))) as stream:
                lagging = [await anext(stream)]
                await until(lambda: sum(len(step.deltas) for step in steps) >= 400)  # the engine does not wait
                lagging += [delta async for delta in stream]
            assert len(lagging) < 10
            assert "".join(d.text for d in lagging) == "".join(d.text for d in whole)
            assert sum(delta.tokens for delta in lagging) == 400
            assert lagging[-1].finish == "length"

    run(test)


def test_leaving_a_stream_frees_its_slot() -> None:
    async def test() -> None:
        async with loaded(slots=1) as (worker, steps):
            async with aclosing(worker.generate(Request("left", "Tell me", LONG))) as stream:
                await anext(stream)
            assert worker.users == 0
            assert (await collect(worker, Request("next", "Hello", LONG)))[-1].finish == "length"
            assert sum("left" in step.deltas for step in steps) < 400

    run(test)


def test_nobody_waits_for_a_hostile_grammar_but_new_grammars() -> None:
    """While grammars that would take hours are tried, a plain chat and chats with a known grammar are answered."""
    known = Grammar("json_schema", '{"type": "integer"}', json=True)
    patterns = [{"type": "string", "pattern": f"(a|b)*{'ab'[i % 2]}(a|b){{{i}}}"} for i in range(1, 40)]
    hostile = [Grammar("json_schema", json.dumps({"allOf": patterns[i:]}), "hostile") for i in range(2)]

    async def test() -> None:
        async with loaded() as (worker, _):
            await collect(worker, Request("first", "Number", SHORT, grammar=known))
            trials = [
                asyncio.create_task(collect(worker, Request(f"hostile {i}", "Number", SHORT, grammar=grammar)))
                for i, grammar in enumerate(hostile)
            ]
            await asyncio.sleep(0)  # submitted
            began = asyncio.get_running_loop().time()
            prompts = (("plain", "Hello", None), ("known", "Number", known), ("long", "x" * LONG_PROMPT, known))
            for name, prompt, grammar in prompts:
                asked = collect(worker, Request(name, prompt, SHORT, grammar=grammar))
                if name == "long":  # prepared by the other helper, which finds it too long for the model
                    with pytest.raises(ContextLengthExceeded):
                        await asked
                else:
                    assert (await asked)[-1].finish
            assert asyncio.get_running_loop().time() - began < SECONDS
            assert not any(trial.done() for trial in trials)
            for refused in await asyncio.gather(*trials, return_exceptions=True):
                assert isinstance(refused, InvalidValue)
                assert "too much time" in refused.message

    run(test)


@pytest.mark.parametrize("length", [4, 2 * LONG_PROMPT], ids=["short", "tokenised by the helper"])
def test_a_prompt_that_is_cancelled_at_once_stops(length: int) -> None:
    async def test() -> None:
        async with loaded() as (worker, steps):
            stream = worker.generate(Request("gone", [1] * 4 if length == 4 else "x" * length, LONG))
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)  # submitted, not answered
            waiting.cancel()
            await asyncio.wait({waiting})
            await stream.aclose()
            after = await collect(worker, Request("after", "Hello", SamplingParams(max_tokens=3, ignore_eos=True)))
            assert after[-1].finish == "length"
            assert sum("gone" in step.deltas for step in steps) < 200  # of 400: the fake engine is quick
            assert not any("gone" in step.failures for step in steps)

    run(test)


def test_an_error_of_one_request_is_its_own() -> None:
    async def test() -> None:
        async with loaded() as (worker, _):
            other = asyncio.create_task(collect(worker, Request("other", "Hello", LONG)))
            for length in (3_000, 2 * LONG_PROMPT):
                with pytest.raises(ContextLengthExceeded, match="2048 tokens"):
                    await collect(worker, Request(f"long {length}", "x" * length, LONG))
            assert (await other)[-1].finish == "length"

    run(test)


def test_what_came_before_a_death_is_delivered_before_its_error(tmp_path: Path) -> None:
    artifact = tmp_path / "slow.json"
    artifact.write_text('{"step_seconds": 0.02}')

    async def test() -> None:
        async with loaded(artifact) as (worker, steps):
            stream = worker.generate(Request("1", "Tell me", LONG))
            first = await anext(stream)
            await until(lambda: len(steps) >= 5)
            worker.kill()
            await until(lambda: not worker.alive)
            second = await anext(stream)
            assert first.tokens + second.tokens >= 4
            with pytest.raises(WorkerDied, match="SIGKILL"):
                await anext(stream)
            with pytest.raises(WorkerDied):
                await collect(worker, Request("2", "Hello", LONG))

    run(test)


def test_a_worker_that_cannot_load_says_why(tmp_path: Path) -> None:
    artifact = tmp_path / "odd.json"
    artifact.write_text('{"no_such_option": 1}')

    async def test() -> None:
        with pytest.raises(LoadFailed, match=r"odd\.json is not a description"):
            async with loaded(artifact):
                pass

    run(test)


def test_a_folder_where_the_user_stands_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the decoy was imported')")
    (tmp_path / "msgspec.py").write_text("raise SystemExit('the decoy was imported')")
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        async with loaded() as (worker, _):
            assert (await collect(worker, Request("1", "Hello", LONG)))[-1].finish == "length"

    run(test)
