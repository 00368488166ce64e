"""8 streams over 4 adapters on the real engines: each gives the text that it gives alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from converters import adapters
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement
from server.types import Adapter, Request, SamplingParams

from ..random_lora import write_random_lora
from .driving import Driver

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

SHARED = "<|im_start|>system\nYou are a helpful assistant who answers in one or two short sentences.<|im_end|>\n"
TOPICS = "rain cats gold Mars chess bees iron owls".split()
PROMPTS = [f"{SHARED}<|im_start|>user\nTell me about {topic}.<|im_end|>\n<|im_start|>assistant\n" for topic in TOPICS]
PARAMS = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
Served = tuple[ModelRunner, list[Adapter]]


@pytest.fixture(scope="module", params=["onnx", "llama"])
def served(
    request: pytest.FixtureRequest, real_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A runner of the default model, and four adapters for it."""
    root = tmp_path_factory.mktemp("adapters")
    graph: Path = request.getfixturevalue("real_folder")
    llama = request.param == "llama"
    found = []
    for seed in range(4):
        source = write_random_lora(real_model, root / str(seed), seed, loud=0.04)
        make, base = (adapters.to_gguf, real_model) if llama else (adapters.to_onnx, graph)
        found.append(Adapter(str(seed), str(make(source, base, root / f"{seed}-made").file)))
    placement = Placement(threads=1, slots=8, context=256, spin=False, adapters=True)
    runner = load_runner(request.param, real_model if llama else graph, placement, lambda _: None)
    yield runner, found
    runner.close()


def test_streams_of_four_adapters_say_what_they_say_alone(served: Served) -> None:
    runner, found = served
    alone = []
    for number, prompt in enumerate(PROMPTS):
        driver = Driver(runner)
        driver.send(Request("only", prompt, PARAMS, cache_prompt=False, adapter=found[number % 4]))
        driver.run()
        alone.append(driver.text["only"])
        for slot in range(runner.info.slots):
            runner.truncate(slot, 0)
    company = Driver(runner)
    for round_ in ("first", "again"):  # the second time prefixes are there, of every adapter
        for number, prompt in enumerate(PROMPTS):
            company.send(Request(f"{round_} {number}", prompt, PARAMS, adapter=found[number % 4]))
            if number % 3 == 0:
                company.engine.step()  # so that they join at different times
        company.run()
        assert [company.text[f"{round_} {number}"] for number in range(8)] == alone
    assert all(company.usage[f"again {number}"].cached_tokens > 20 for number in range(8))
    base = Driver(runner)
    for slot in range(runner.info.slots):
        runner.truncate(slot, 0)
    for number, prompt in enumerate(PROMPTS):
        base.submit(str(number), prompt, PARAMS)
    base.run()
    assert sum(base.text[str(number)] != alone[number] for number in range(8)) >= 4
