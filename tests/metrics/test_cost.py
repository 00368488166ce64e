"""What metering costs, of one core."""

import time

import pytest

from server.api.accounting import Tally
from server.metrics.meter import Meter
from server.types import Delta, Request, SamplingParams
from server.worker.messages import StepDone

ROUNDS = 20_000


@pytest.mark.alone
def test_a_step_and_a_delta_cost_microseconds() -> None:
    meter = Meter({"one"}.__contains__)
    step = StepDone(decode_tokens=8, sequences=8, running=8, kv_used=900, kv_capacity=8192, seconds=0.012)
    tally = Tally(meter, "one", [Request("r", "p", SamplingParams())], keeps_texts=False)
    delta = Delta("word", 1)
    by_step = min(_seconds(lambda: meter.step("one", "worker", step)) for _ in range(3))
    by_delta = min(_seconds(lambda: tally.add(delta)) for _ in range(3))
    assert by_step < 20e-6, f"{by_step * 1e6:.1f} us"
    assert by_delta < 20e-6, f"{by_delta * 1e6:.1f} us"


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        work()
    return (time.perf_counter() - began) / ROUNDS
