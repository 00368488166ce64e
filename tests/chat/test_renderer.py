"""Render processes that die, requests that are cancelled, a renderer that is closed, a server that is killed."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from typing import Any

import pytest

from server.chat.children import Children
from server.chat.renderer import Renderer
from server.errors import TemplateFailed, Unavailable
from server.settings import Settings

from .rendering import BENIGN, ENDLESS, HELLO, running_renderer


def saying(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_one_child_stays_warm() -> None:
    async def main() -> None:
        async with running_renderer() as renderer:
            (pid,) = renderer.pids
            texts = await asyncio.gather(*(renderer.render(BENIGN, saying(str(n))) for n in range(50)))
            assert texts == [f"user: {n}\n" for n in range(50)]
            assert pid in renderer.pids

    asyncio.run(main())


def test_a_render_process_imports_nothing_large() -> None:
    listing = "import sys, server.chat.render; print(*(name.partition('.')[0] for name in sys.modules))"
    output = subprocess.run([sys.executable, "-P", "-c", listing], capture_output=True, text=True, check=True).stdout
    assert set(output.split()).isdisjoint({"pydantic", "fastapi", "starlette", "numpy", "httpx", "yaml"})


def test_a_warm_child_that_was_killed_costs_nobody_a_request() -> None:
    async def main() -> None:
        async with running_renderer() as renderer:
            for _ in range(2):
                for pid in renderer.pids:
                    os.kill(pid, signal.SIGKILL)
                assert await renderer.render(BENIGN, saying("again")) == "user: again\n"

    asyncio.run(main())


def test_a_child_that_is_killed_while_it_renders_fails_that_request_only() -> None:
    async def main() -> None:
        async with running_renderer() as renderer:
            doomed = asyncio.create_task(renderer.render(ENDLESS, HELLO))
            while not doomed.done():
                for pid in renderer.pids:
                    os.kill(pid, signal.SIGKILL)
                await asyncio.wait({doomed}, timeout=0.05)
            with pytest.raises(TemplateFailed):
                await doomed
            assert await renderer.render(BENIGN, saying("next")) == "user: next\n"

    asyncio.run(main())


@pytest.mark.parametrize("template", [BENIGN, ENDLESS])
def test_a_cancelled_render_leaves_the_protocol_in_step(template: str) -> None:
    async def main() -> None:
        async with running_renderer() as renderer:
            for turns in range(7):  # cancelled at different points
                leaving = asyncio.create_task(renderer.render(template, saying("gone")))
                for _ in range(turns):
                    await asyncio.sleep(0)
                leaving.cancel()
                assert await renderer.render(BENIGN, saying(str(turns))) == f"user: {turns}\n"
                (outcome,) = await asyncio.gather(leaving, return_exceptions=True)
                assert outcome == "user: gone\n" or isinstance(outcome, asyncio.CancelledError)

    asyncio.run(main())


@pytest.mark.parametrize(("content", "reason"), [(2**70, "64"), ("\ud800", "surrogates")], ids=["integer", "surrogate"])
def test_a_conversation_that_cannot_be_sent_costs_no_child(content: object, reason: str) -> None:
    async def main() -> None:
        async with running_renderer() as renderer:
            before = renderer.pids
            with pytest.raises(TemplateFailed, match=reason):
                await renderer.render(BENIGN, [{"role": "user", "content": content}])
            assert await renderer.render(BENIGN, HELLO) == "user: Hello\n"
            assert renderer.pids == before

    asyncio.run(main())


def test_a_large_conversation() -> None:
    async def main() -> None:
        async with running_renderer(10) as renderer:
            text = "ä" * (4 << 20)
            assert await renderer.render(BENIGN, saying(text)) == f"user: {text}\n"

    asyncio.run(main())


def test_close_leaves_no_child_and_no_waiter() -> None:
    async def main() -> list[int]:
        renderer = Renderer(Settings())
        await renderer.start()
        busy = [asyncio.create_task(renderer.render(f"{n}{ENDLESS}", HELLO)) for n in range(6)]
        pids: set[int] = set()
        while len(pids) < 3:
            await asyncio.wait(busy, timeout=0.01)
            pids.update(renderer.pids)
        await renderer.close()
        outcomes = await asyncio.gather(*busy, return_exceptions=True)
        assert all(isinstance(outcome, TemplateFailed | Unavailable) for outcome in outcomes)
        assert not renderer.pids
        with pytest.raises(Unavailable, match="shutting down"):
            await renderer.render(BENIGN, HELLO)
        await renderer.close()
        return list(pids)

    for pid in asyncio.run(main()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_child_that_cannot_start_fails_who_waits() -> None:
    async def main() -> None:
        children = Children(2, "not a number of seconds")
        waiting = [children.take() for _ in range(3)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        await children.close()

    asyncio.run(main())


def test_children_are_handed_out_in_order_and_none_is_lost() -> None:
    async def main() -> None:
        children = Children(1, "1")
        child = await children.take()
        served: list[int] = []

        async def serve(number: int) -> None:
            taken = await children.take()
            served.append(number)
            children.give_back(taken)

        tasks = [asyncio.create_task(serve(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()  # while it waits
        children.give_back(child)
        tasks[0].cancel()  # when it has been handed the child and does not know yet
        await asyncio.gather(*tasks, return_exceptions=True)
        assert served == [2, 3, 4]
        assert await asyncio.wait_for(children.take(), 1) is child
        await children.close()

    asyncio.run(main())


ORPHANS = """
import asyncio
from server.chat.renderer import Renderer
from server.settings import Settings

async def main():
    renderer = Renderer(Settings(template_seconds=0.2 if BUSY else 60))
    await renderer.start()
    if BUSY:
        task = asyncio.create_task(renderer.render(ENDLESS, []))
        for _ in range(9):
            await asyncio.sleep(0)
    print(*renderer.pids, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pidfd")
@pytest.mark.parametrize("busy", [False, True])
def test_children_end_when_the_server_is_killed(busy: bool) -> None:
    program = ORPHANS.replace("BUSY", str(busy)).replace("ENDLESS", repr(ENDLESS))
    with subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        watched = [os.pidfd_open(int(pid)) for pid in server.stdout.readline().split()]
        server.kill()
    assert watched
    for descriptor in watched:
        ended, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert ended


HOSTILE: list[dict[str, Any]] = [
    {"self": 1, "loop": 2, "super": 3, "caller": 4, "varargs": 5, "kwargs": 6},
    {"__class__": 1, "__init__": {"__globals__": {}}, "": 1, "a b": 1, "context": 1, "environment": 1},
    {"range": 1, "dict": 1, "namespace": 1, "raise_exception": 1},
    {f"v{number}": number for number in range(10_000)},
]
LOOPING = (
    "{% for m in messages %}{{ loop.index }} {{ m.role }}{% endfor %}{% block b %}{{ self.b is defined }}{% endblock %}"
)


def test_no_name_of_a_variable_harms_the_render_process() -> None:
    """The border refuses most of these; the process does not rely on it."""

    async def main() -> None:
        async with running_renderer() as renderer:
            pids = renderer.pids
            for variables in HOSTILE:
                assert await renderer.render(LOOPING, HELLO, variables=variables) == "1 userTrue"
            for taken in ("messages", "tools", "eos_token"):
                with pytest.raises(TemplateFailed, match=f"{taken} cannot be given"):
                    await renderer.render(LOOPING, HELLO, variables={taken: []})
            for odd in ({"\ud800": 1}, {"a": "\ud800"}, {"a": 2**70}):
                with pytest.raises(TemplateFailed, match="cannot be given"):
                    await renderer.render(LOOPING, HELLO, variables=odd)
            assert renderer.pids == pids

    asyncio.run(main())
