"""Sequences under several adapters: each says what it says alone, and none reads what another adapter computed."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import LoadFailed
from server.runners.base import Segment
from server.types import Adapter, Request, SamplingParams

from .driving import GREEDY, Driver, fake_runner

SHARED = "A system prompt that all of them share, long enough to be copied. " * 2
PROMPTS = [SHARED, f"{SHARED}Why?", f"{SHARED}Why not?", "Another beginning.", f"Another beginning. {SHARED}"]


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Adapter | None]:
    """The model as it is, and three adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    return [None, *(write_fake_adapter(folder / f"{salt}.json", salt) for salt in (1, 2, 3))]


def write_fake_adapter(path: Path, salt: int, scale: float = 1.0) -> Adapter:
    path.write_text(f'{{"salt": {salt}}}')
    return Adapter(path.stem, str(path), scale)


def says(prompt: str, adapter: Adapter | None, params: SamplingParams = GREEDY) -> str:
    """What a request says with the engine to itself."""
    driver = Driver(fake_runner())
    driver.send(Request("only", prompt, params, adapter=adapter))
    driver.run()
    return driver.text["only"]


JOBS = st.lists(
    st.tuples(
        st.sampled_from(range(len(PROMPTS))), st.integers(0, 3), st.integers(1, 3), st.integers(0, 6), st.booleans()
    ),
    min_size=1,
    max_size=14,
)
OPTIONS = st.sampled_from([{}, {"cache_tokens": 400}, {"can_copy": False}, {"can_truncate": False}, {"slots": 1}])


@settings(deadline=None, max_examples=60)
@given(jobs=JOBS, options=OPTIONS)
def test_company_of_other_adapters_changes_nothing(
    jobs: list[tuple[int, int, int, int, bool]], options: dict[str, Any], known: list[Adapter | None]
) -> None:
    """Requests come and go between steps; the runner itself refuses entries that another adapter computed."""
    driver = Driver(fake_runner(**options))
    cancelled: set[str] = set()
    for number, (prompt, adapter, continuations, steps, cancel) in enumerate(jobs):
        driver.send(Request(str(number), PROMPTS[prompt], GREEDY, n=continuations, adapter=known[adapter]))
        for _ in range(steps):
            driver.engine.step()
        if cancel:
            driver.engine.cancel(str(number))
            cancelled.add(str(number))
    driver.run()
    assert not driver.failures
    expected = {(prompt, adapter): says(PROMPTS[prompt], known[adapter]) for prompt, adapter, *_ in jobs}
    for number, (prompt, adapter, continuations, *_) in enumerate(jobs):
        for name in (str(number), *(f"{number}/{index}" for index in range(1, continuations))):
            if str(number) not in cancelled:
                assert driver.text[name] == expected[prompt, adapter]


def test_adapters_are_heard_and_a_scale_too(known: list[Adapter | None], tmp_path: Path) -> None:
    scaled = write_fake_adapter(tmp_path / "1.json", 1, scale=0.5)
    assert len({says("Hello", adapter) for adapter in (*known, scaled)}) == 5


def test_a_prefix_is_reused_under_its_own_adapter_only(known: list[Adapter | None]) -> None:
    driver = Driver(fake_runner())
    cached = {}
    for turn, adapter in (("first", 1), ("again", 1), ("other", 2), ("base", 0), ("other again", 2), ("at last", 1)):
        driver.send(Request(turn, PROMPTS[1], GREEDY, adapter=known[adapter]))
        driver.run()
        cached[turn] = driver.usage[turn].cached_tokens
    assert [turn for turn, tokens in cached.items() if tokens] == ["again", "other again", "at last"]


def test_an_adapter_is_loaded_once_and_on_its_first_use(known: list[Adapter | None]) -> None:
    runner = fake_runner()
    loads: list[Path] = []
    inner = runner.load_adapter

    def noted(path: Path, scale: float = 1.0) -> int:
        loads.append(path)
        return inner(path, scale)

    runner.load_adapter = noted  # type: ignore[method-assign]
    driver = Driver(runner)
    assert not loads
    for number in range(12):
        driver.send(Request(str(number), "Hello", GREEDY, adapter=known[number % 4]))
    driver.run()
    assert [path.stem for path in loads] == ["1", "2", "3"]


def test_an_adapter_that_cannot_be_loaded_fails_its_request_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[]")
    broken = Adapter("broken", str(tmp_path / "broken.json"))
    driver = Driver(fake_runner(slots=1))
    driver.send(Request("broken", SHARED, GREEDY, n=2, adapter=broken))
    driver.submit("whole", SHARED)
    driver.run()
    assert set(driver.failures) == {"broken", "broken/1"}
    assert isinstance(driver.failures["broken"], LoadFailed)
    assert driver.text["whole"] == says(SHARED, None)
    driver.submit("later", SHARED)
    driver.run()
    assert driver.text["later"] == driver.text["whole"]


def test_every_adapter_decodes_in_every_step(known: list[Adapter | None]) -> None:
    """No turns: what one adapter's streams get in a step, all get."""
    driver = Driver(fake_runner(slots=8))
    for number in range(8):
        params = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True)
        driver.send(Request(str(number), f"Prompt {number}", params, adapter=known[number % 4]))
    lengths: list[list[int]] = []
    while driver.engine.step():
        lengths.append([sequence.generated for sequence in driver.engine.scheduler.running])
    decoding = [each for each in lengths if len(each) == 8 and min(each) > 0]
    assert len(decoding) >= 25
    assert all(len({after - before for before, after in zip(*pair, strict=True)}) == 1 for pair in pairwise(decoding))


def test_the_fake_refuses_what_another_adapter_computed(known: list[Adapter | None]) -> None:
    runner = fake_runner()
    number = runner.load_adapter(Path((known[1] or Adapter("", "")).path))
    runner.forward([Segment(0, [1, 2], 0, range(0), adapter=number)])
    with pytest.raises(AssertionError, match="another adapter"):
        runner.forward([Segment(0, [3], 2, range(0))])
