"""A template bomb costs its own request a 400 within two seconds, and nobody else anything."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from server.chat.render import MEMORY_MEGABYTES
from server.chat.renderer import Renderer
from server.errors import TemplateFailed

from .rendering import BENIGN, ENDLESS, HELLO, running_renderer

GROW = "{% set ns = namespace(x='ab') %}{% for _ in range(99) %}{% set ns.x = GROWN %}{% endfor %}{{ ns.x }}"

# What the rules of `bounds` refuse before it runs, also where no memory limit exists.
REFUSED = {
    "repetition": "{{ 'a' * 1000000000 }}",
    "repetition when compiled": "{% set x = 'a' * 300000000 %}",
    "repetition of a list": "{{ ([0] * 1000000000)|length }}",
    "power": "{{ 9 ** (9 ** 7) }}",
    "product": GROW.replace("'ab'", "9").replace("GROWN", "ns.x * ns.x"),
    "percent width": "{{ '%500000000d' % 1 }}",
    "percent argument width": "{{ '%*d' % (500000000, 1) }}",
    "percent precision": "{{ '%.500000000f' % 1 }}",
    "format filter": "{{ '%(a)500000000s'|format(a=1) }}",
    "format width": "{{ '{:>900000000}'.format('a') }}",
    "format nested width": "{{ '{:>{w}}'.format('a', w=900000000) }}",
    "center filter": "{{ 'a'|center(900000000) }}",
    "center filter when compiled": "{% if false %}{{ 'a'|center(900000000) }}{% endif %}{{ 'a'|center(900000000) }}",
    "center method": "{{ 'a'.center(900000000) }}",
    "ljust method": "{{ 'a'.ljust(900000000) }}",
    "zfill through a variable": "{% set f = 'a'.zfill %}{{ f(900000000) }}",
    "center through map": "{{ ['a']|map('center', 900000000)|list }}",
    "expandtabs": "{{ 'a\tb'.expandtabs(tabsize=900000000) }}",
    "to_bytes": "{{ (1).to_bytes(900000000, 'big') }}",
    "indent filter": "{{ 'a'|indent(900000000, true) }}",
    "indent by a text": "{{ ('a\n' * 100000)|indent('b' * 100000) }}",
    "batch": "{{ [1]|batch(900000000, 0)|list }}",
    "slice": "{{ [1]|slice(900000000)|list }}",
    "round": "{{ 1.5|round(900000000, 'ceil') }}",
    "wide JSON": "{{ messages|tojson(indent=900000000) }}",
    "replace method": "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "replace filter": "{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}",
    "translate": "{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    "join method": "{{ ('a' * 1000000).join(['b'] * 1000000) }}",
    "join filter": "{{ (['a' * 1000000] * 1000000)|join }}",
    "growth by plus": GROW.replace("GROWN", "ns.x + ns.x"),
    "growth by tilde": GROW.replace("GROWN", "ns.x ~ ns.x"),
}
# What grows or loops by many small steps, or in the compiler: limits of the process and the deadline end it.
ENDED = {
    "endless loops": ENDLESS,
    "wordwrap": "{{ ('a ' * 100000)|wordwrap(1, wrapstring='b' * 100000) }}",
    "growth by a set block": "{% set a = 'ab' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
    "growth of a nested list": GROW.replace("GROWN", "[ns.x, ns.x]"),
    "growth of JSON": GROW.replace("GROWN", "[ns.x, ns.x]").replace("{{ ns.x }}", "{{ ns.x|tojson }}"),
    "growth of an escaped text": GROW.replace("GROWN", "ns.x|tojson|tojson|tojson"),
    "depth of a list": GROW.replace("range(99)", "range(90000)").replace("GROWN", "[ns.x]"),
    "a huge range": "{{ range(1000000000000)|list }}",
    "much output": "{% for _ in range(99999) %}{{ 'a' * 10000 }}{% endfor %}",
    "recursive macro": "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}",
    "recursive loop": "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "filter chain": "{{ 'a'" + "|upper" * 20000 + " }}",
    "sum chain": "{{ 1" + " + 1" * 20000 + " }}",
    "brackets": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "unary chain": "{{ " + "not " * 20000 + "1 }}",
    "nested blocks": "{% for i in [1] %}" * 60 + "{% endfor %}" * 60,
    "slow to compile": "{{ a.b.c }}" * 95000,
    "a template too large": "a" * (2 << 20),
}
BOMBS = REFUSED | ENDED


def peak_megabytes(renderer: Renderer) -> float:
    """The most memory that a living render process has had resident; 0 where this cannot be read."""
    peaks = [0.0]
    for pid in renderer.pids if sys.platform == "linux" else []:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue  # it has just ended
        peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
    return max(peaks)


@pytest.mark.alone
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_only_its_own_request(name: str) -> None:
    async def main() -> None:
        async with running_renderer() as renderer:
            begun = time.monotonic()
            bomb = asyncio.create_task(renderer.render(BOMBS[name], HELLO))
            slowest = peak = 0.0
            bystanders = 0
            while not bomb.done() or not bystanders:
                asked = time.monotonic()
                assert await renderer.render(BENIGN, HELLO) == "user: Hello\n"
                slowest = max(slowest, time.monotonic() - asked)
                bystanders += 1
                peak = max(peak, peak_megabytes(renderer))
            took = time.monotonic() - begun
            with pytest.raises(TemplateFailed, match="may not do" if name in REFUSED else "The chat template"):
                await bomb
            assert took < 2
            assert slowest < 1
            assert peak < MEMORY_MEGABYTES

    asyncio.run(main())


def test_a_known_bomb_holds_one_child_at_most() -> None:
    async def main() -> None:
        async with running_renderer(0.3) as renderer:
            for _ in range(2):  # the first time it is new, the second time it is known
                bombs = [asyncio.create_task(renderer.render(ENDLESS, HELLO)) for _ in range(8)]
                while not all(bomb.done() for bomb in bombs):
                    assert await renderer.render(BENIGN, HELLO) == "user: Hello\n"
                    assert len(renderer.pids) <= 2
                outcomes = await asyncio.gather(*bombs, return_exceptions=True)
                assert all(isinstance(outcome, TemplateFailed) for outcome in outcomes)

    asyncio.run(main())


def test_different_bombs_together_take_four_children_and_each_ends() -> None:
    async def main() -> None:
        async with running_renderer(0.3) as renderer:
            bombs = [asyncio.create_task(renderer.render(f"{number}{ENDLESS}", HELLO)) for number in range(6)]
            benign = asyncio.create_task(renderer.render(BENIGN, HELLO))
            while not all(bomb.done() for bomb in bombs):
                await asyncio.wait(bombs, timeout=0.02)
                assert len(renderer.pids) <= 4
            outcomes = await asyncio.gather(*bombs, return_exceptions=True)
            assert all(isinstance(outcome, TemplateFailed) for outcome in outcomes)
            assert await benign == "user: Hello\n"

    asyncio.run(main())


def test_a_conversation_that_takes_too_long_does_not_delay_others_with_the_same_template() -> None:
    quadratic = "{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}{{ messages|length }}"

    async def main() -> None:
        async with running_renderer(0.3) as renderer:
            assert await renderer.render(quadratic, HELLO) == "1"
            for _ in range(2):
                slow = [asyncio.create_task(renderer.render(quadratic, HELLO * 9999)) for _ in range(3)]
                while not all(bomb.done() for bomb in slow):
                    jobs = [renderer.render(quadratic, HELLO) for _ in range(4)]
                    assert await asyncio.gather(*jobs) == ["1"] * 4
                assert all(isinstance(job.exception(), TemplateFailed) for job in slow)

    asyncio.run(main())


def test_a_template_that_was_too_slow_once_may_redeem_itself() -> None:
    loops = "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}{{ n }}"

    async def main() -> None:
        async with running_renderer(0.3) as renderer:
            with pytest.raises(TemplateFailed, match=r"longer than 0\.3 s"):
                await renderer.render(loops, HELLO, variables={"n": 99999})
            for _ in range(2):  # out of quarantine, then free
                jobs = [renderer.render(loops, HELLO, variables={"n": n}) for n in range(8)]
                assert await asyncio.gather(*jobs) == [str(n) for n in range(8)]

    asyncio.run(main())
