"""The real engine loop on the onnx engine: what requests say together is what each says alone."""

from pathlib import Path

import pytest

from server.runners.base import Placement
from server.runners.onnx.loading import load
from server.runners.onnx.runner import OnnxRunner
from server.types import SamplingParams
from tests.engine.driving import Driver

from .conftest import FolderOf

REQUESTS = 16
TEXT = (
    "The harbour was quiet, and the boats lay still. A keeper climbed the stairs of the lighthouse, counted them as he"
    " had done for thirty years, and wondered at the top whether there had not been one more of them this evening. "
)


def prompt(number: int) -> str:
    """From a few tokens to some hundred."""
    return f"{number}. " + (TEXT * 3)[: 5 + number * number * 2]


def params(number: int) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=6 + number * 5 % 23, ignore_eos=True)


def alone(runner: OnnxRunner, number: int) -> str:
    driver = Driver(runner)
    driver.submit("only", prompt(number), params(number), cache_prompt=False)
    driver.run()
    for slot in range(runner.info.slots):
        runner.truncate(slot, 0)
    return driver.text["only"]


def together(runner: OnnxRunner, *, steps_between: int, cache_prompt: bool) -> list[str]:
    """More requests than slots, which come one after the other and leave when they are done."""
    driver = Driver(runner)
    for number in range(REQUESTS):
        driver.submit(str(number), prompt(number), params(number), cache_prompt=cache_prompt)
        for _ in range(steps_between * (number % 3)):
            driver.engine.step()
    driver.run()
    assert not driver.failures
    for slot in range(runner.info.slots):
        runner.truncate(slot, 0)
    return [driver.text[str(number)] for number in range(REQUESTS)]


@pytest.mark.real
def test_sixteen_requests_say_what_each_says_alone(real_folder: Path) -> None:
    runner = load(real_folder, Placement(threads=2, slots=6, context=1024), lambda _: None)
    expected = [alone(runner, number) for number in range(REQUESTS)]
    assert len(set(expected)) > REQUESTS / 2
    assert together(runner, steps_between=0, cache_prompt=False) == expected
    assert together(runner, steps_between=2, cache_prompt=False) == expected
    runner.close()


@pytest.mark.parametrize("kind", ["asked", "every", "last"])
@pytest.mark.parametrize("device_rows", [False, True], ids=["host", "device"])
def test_every_kind_of_graph_does_it(kind: str, device_rows: bool, folder_of: FolderOf) -> None:
    runner = load(folder_of(kind), Placement(threads=1, slots=5), lambda _: None, device_rows=device_rows)
    expected = [alone(runner, number) for number in range(REQUESTS)]
    assert len(set(expected)) > REQUESTS / 2
    for steps_between in (0, 1, 3):
        assert together(runner, steps_between=steps_between, cache_prompt=False) == expected
    assert together(runner, steps_between=2, cache_prompt=True) == expected, "also where they share a prefix"
    runner.close()
