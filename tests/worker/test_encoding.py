"""A worker of an encoder seen from its parent: shared batches, cancellation, refusals, death."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from server.errors import ContextLengthExceeded, EngineFailed, InvalidValue, WorkerDied
from server.runners.base import EncoderInfo, Placement
from server.worker.client import OnStep, Worker
from server.worker.encoding import Job, company
from server.worker.expected import Expected
from server.worker.messages import Encoded, Load, StepDone

DIMENSION = 16


@asynccontextmanager
async def loaded(folder: Path, on_step: OnStep = lambda _: None, **options: object) -> AsyncIterator[Worker]:
    """A worker with a fake encoder."""
    artifact = folder / "encoder.json"
    artifact.write_text(json.dumps({"dimension": DIMENSION, "context": 64} | options))
    worker = await Worker.start("fake encoder", on_step)
    try:
        ready = await worker.load(Load("fake", str(artifact), Placement(1), 0.04))
        assert ready.info == EncoderInfo(259, 64, DIMENSION, 512)
        yield worker
    finally:
        await worker.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def rows(encoded: Encoded) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.frombuffer(encoded.vectors, np.float32).reshape(len(encoded.tokens), -1)


def test_many_requests_at_once_get_their_own_vectors_in_order(tmp_path: Path) -> None:
    texts: list[str | list[int]] = ["x" * (1 + 7 * place % 50) + str(place) for place in range(40)]

    async def test() -> None:
        async with loaded(tmp_path) as worker:
            alone = [rows(await worker.encode([text]))[0] for text in texts]
            whole, *parts = await asyncio.gather(worker.encode(texts), *(worker.encode([text]) for text in texts))
            np.testing.assert_array_equal(rows(whole), np.stack(alone))
            np.testing.assert_array_equal(np.concatenate([rows(part) for part in parts]), np.stack(alone))
            assert whole.tokens == [len(text) + 1 for text in texts]

    run(test)


def test_a_small_request_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path, step_seconds=0.05) as worker:
            large = asyncio.create_task(worker.encode(["y" * 60] * 400))  # 50 batches
            await asyncio.sleep(0)
            await worker.encode(["small"])
            assert not large.done()
            large.cancel()

    run(test)


def test_leaving_ends_the_work(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path, step_seconds=0.05) as worker:
            large = asyncio.create_task(worker.encode(["y" * 60] * 4_000))  # 25 s
            await worker.encode(["small"])
            large.cancel()
            await asyncio.wait({large})
            began = asyncio.get_running_loop().time()
            for _ in range(3):
                await worker.encode(["after"])
            assert asyncio.get_running_loop().time() - began < 3

    run(test)


def test_inputs_that_cannot_be_computed_are_named(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as worker:
            with pytest.raises(ContextLengthExceeded, match=r"64 tokens, and input\[1\] has 101"):
                await worker.encode(["short", "z" * 100])
            with pytest.raises(ContextLengthExceeded, match=r"documents\[0\] has 101") as caught:
                await worker.encode(["short", "z" * 100], ranking=True)
            assert caught.value.param == "documents"
            with pytest.raises(InvalidValue, match=r"input\[0\]: the model has no token 259"):
                await worker.encode([[1, 259]])
            assert (await worker.encode(["z" * 100], -1)).tokens == [64]
            assert (await worker.encode(["z" * 100], 7)).tokens == [7]
            assert (await worker.encode(["z" * 100], 1000)).tokens == [64]
            cut = await worker.encode([[*range(99), 258]], 10)  # what stands behind a text stays there
            np.testing.assert_array_equal(cut.vectors, (await worker.encode([[*range(9), 258]])).vectors)

    run(test)


def test_a_failure_of_the_engine_is_of_the_request_that_caused_it(tmp_path: Path) -> None:
    """Whoever shared a batch with it is computed again, without it."""
    texts = ["fine", "bad!", "well", "so!!", "good"]

    async def test() -> None:
        async with loaded(tmp_path, fail_token=ord("!"), step_seconds=0.1) as worker:
            before = asyncio.create_task(worker.encode(["y" * 60]))  # the others come while it is computed
            await asyncio.sleep(0)
            found = await asyncio.gather(*(worker.encode([text, "more"]) for text in texts), return_exceptions=True)
            await before
            for text, answer in zip(texts, found, strict=True):
                if "!" in text:
                    assert isinstance(answer, EngineFailed)
                    assert "told to" in answer.message
                else:
                    assert isinstance(answer, Encoded)
                    np.testing.assert_array_equal(answer.vectors, (await worker.encode([text, "more"])).vectors)
            with pytest.raises(EngineFailed):
                await worker.encode(["fine", "bad!"])

    run(test)


def test_nobody_waits_while_a_long_text_is_tokenised(tmp_path: Path) -> None:
    """The fake tokenizer takes a time that grows with the square of the special tokens."""
    long: list[str | list[int]] = ["<|begin|>" * 40_000]

    async def test() -> None:
        async with loaded(tmp_path) as worker:
            cancelled, waiting = (asyncio.create_task(worker.encode(long, -1)) for _ in range(2))
            await asyncio.sleep(0)
            assert (await worker.encode(["small"])).tokens == [6]
            assert await worker.detokenise([97]) == "a"
            assert not cancelled.done()
            cancelled.cancel()
            assert (await waiting).tokens == [64]

    run(test)


def test_what_shares_a_batch() -> None:
    def job(name: str, *, apart: bool = False) -> Job:
        return Job(name, [[1]], [0], np.empty((1, 1), np.float32), apart)

    one, two, alone, other = job("one"), job("two"), job("alone", apart=True), job("other", apart=True)
    assert company([one, alone, two, other]) == [one, two]
    assert company([alone, one, other]) == [alone]


def test_a_request_that_is_cancelled_on_its_way_is_forgotten() -> None:
    expected = Expected()
    expected.add("a")
    assert expected.cancel("a")
    assert not expected.cancel("b")
    assert not expected.arrived("a")
    assert expected.arrived("b")
    assert expected.arrived("a")  # nothing is kept of it


def test_a_death_is_told_to_all_who_wait(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path, step_seconds=0.2) as worker:
            waiting = [asyncio.create_task(worker.encode(["y" * 60] * 100)) for _ in range(3)]
            await worker.encode(["one"])
            worker.kill()
            for answer in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(answer, WorkerDied)
            with pytest.raises(WorkerDied):
                await worker.encode(["late"])

    run(test)


def test_every_batch_is_told_of(tmp_path: Path) -> None:
    async def test() -> None:
        steps: list[StepDone] = []
        async with loaded(tmp_path, steps.append, step_seconds=0.02) as worker:
            encoded = await worker.encode(["a", "bc", "d" * 50])
        assert sum(step.sequences for step in steps) == 3
        assert sum(step.prefill_tokens for step in steps) == sum(encoded.tokens)
        assert all(step.seconds >= 0.02 for step in steps)

    run(test)


def test_it_tokenises_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as worker:
            tokens = await worker.tokenise("ab", special=True)
            assert tokens.tokens[1:] == [97, 98]
            assert await worker.detokenise(tokens.tokens) == "ab"

    run(test)
