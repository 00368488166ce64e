"""On the onnx engine a sequence's logits are, bit for bit, those that it has alone, whoever joins, leaves or moves."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from server.runners.base import FloatRows, Placement, Segment
from server.runners.onnx.loading import load
from server.runners.onnx.runner import OnnxRunner

from .conftest import FolderOf

SLOTS, TOKENS = 6, 250
KINDS = ["asked", "every", "last"]
PLACEMENT = Placement(threads=1, slots=SLOTS)

History = tuple[tuple[int, ...], ...]  # the segments of a sequence; cut short where it was truncated


@dataclass
class Alone:
    """What each history says when nobody else is there."""

    runner: OnnxRunner
    known: dict[History, FloatRows] = field(default_factory=dict)

    def logits(self, history: History) -> FloatRows:
        """Of the last token."""
        if history not in self.known:
            self.runner.truncate(0, 0)
            start = 0
            for tokens in history:
                wanted = range(len(tokens) - 1, len(tokens))
                found = self.runner.forward([Segment(0, list(tokens), start, wanted)])
                start += len(tokens)
            self.known[history] = found.host([0])[0].copy()
        return self.known[history]


class Company(RuleBasedStateMachine):
    """Slots are fed, cut and copied at random; each row asked for is compared with what its sequence says alone."""

    folders: FolderOf

    @initialize(kind=st.sampled_from(KINDS), device_rows=st.booleans())
    def start(self, kind: str, device_rows: bool) -> None:
        folder = self.folders(kind)
        self.runner = load(folder, PLACEMENT, lambda _: None, device_rows=device_rows)
        self.alone = Alone(load(folder, Placement(threads=1, slots=1), lambda _: None))
        self.held: list[History] = [()] * SLOTS

    @rule(data=st.data(), slots=st.sets(st.integers(0, SLOTS - 1), min_size=1))
    def step(self, data: st.DataObject, slots: set[int]) -> None:
        """One token for those that decode, a prompt or a piece of one for others."""
        batch = []
        for slot in data.draw(st.permutations(sorted(slots))):
            decodes = bool(self.held[slot]) and data.draw(st.booleans())
            count = 1 if decodes else data.draw(st.sampled_from([1, 2, 5, 30, 63, 64, 65, 90]))
            seed = data.draw(st.integers(0, 2**16))
            tokens = np.random.default_rng(seed).integers(0, TOKENS, count).tolist()
            asked = decodes or data.draw(st.booleans())
            wanted = range(count - 1, count) if asked else range(0)
            batch.append(Segment(slot, tokens, self.length(slot), wanted))
        logits = self.runner.forward(batch)
        for segment in batch:
            self.held[segment.slot] += (tuple(segment.tokens),)
        for number, slot in enumerate(segment.slot for segment in batch if segment.wanted):
            expected = self.alone.logits(self.held[slot])
            assert np.array_equal(logits.host([number])[0], expected)
            assert logits.argmax([number])[0] == expected.argmax()

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        """A sequence leaves, or goes back to where one of its segments ended."""
        slot = data.draw(st.sampled_from([slot for slot in range(SLOTS) if self.held[slot]]))
        self.held[slot] = self.held[slot][: data.draw(st.integers(0, len(self.held[slot]) - 1))]
        assert self.runner.truncate(slot, self.length(slot))

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), beginner=st.integers(0, SLOTS - 1))
    def copy(self, data: st.DataObject, beginner: int) -> None:
        """A sequence begins with what another one holds."""
        sources = [slot for slot in range(SLOTS) if self.held[slot] and slot != beginner]
        if sources:
            source = data.draw(st.sampled_from(sources))
            self.held[beginner] = self.held[source][: data.draw(st.integers(1, len(self.held[source])))]
            assert self.runner.copy_prefix(source, beginner, self.length(beginner))

    def length(self, slot: int) -> int:
        return sum(map(len, self.held[slot]))

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()
            self.alone.runner.close()


@pytest.mark.timeout(600)  # to shrink an example takes minutes
def test_a_sequence_says_in_company_what_it_says_alone(folder_of: FolderOf) -> None:
    class OverFolders(Company):
        folders = staticmethod(folder_of)

    run_state_machine_as_test(
        OverFolders,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [65, 66, 128, 129, 200])
def test_where_a_prompt_is_cut_does_not_show(folder_of: FolderOf, kind: str, length: int) -> None:
    """On the grid of chunks; a single token behind it is another kernel, so it is one in every case."""
    runner = load(folder_of(kind), PLACEMENT, lambda _: None)
    tokens = np.random.default_rng(length).integers(0, TOKENS, length).tolist()
    last = range(length - 1, length)
    whole = runner.forward([Segment(0, tokens, 0, last)]).host([0])[0].copy()
    for step in (64, 128):
        runner.truncate(1, 0)
        for start in range(0, length, step):
            part = tokens[start : start + step]
            found = runner.forward([Segment(1, part, start, range(len(part) - 1, len(part)))])
        assert np.array_equal(found.host([0])[0], whole)
    runner.close()
