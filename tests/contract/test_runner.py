"""What every engine must do alike. A new runner is one more row of BACKENDS."""

import gc
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from server.errors import LoadFailed
from server.runners import load_runner
from server.runners.base import CacheFull, FloatRows, ModelRunner, Placement, Segment

BACKENDS = [
    "fake",
    pytest.param("llama", marks=pytest.mark.real),
    pytest.param("onnx", marks=pytest.mark.real),
    pytest.param("genai", marks=pytest.mark.real),
]
# The onnx engine again, with everything where it would lie on a device that has memory of its own.
RUNNERS = [*BACKENDS, pytest.param("onnx on a device", marks=pytest.mark.real)]
ARTIFACTS = {"llama": "real_model", "onnx": "real_folder", "genai": "real_folder", "onnx on a device": "real_folder"}
CANNOT_COPY = {"genai"}
PLACEMENT = Placement(threads=2, slots=4, context=512, cache_tokens=1024)
TEXT = "The harbour was quiet, and the boats lay still; 日本語, naïve, 🎈. " * 4

Load = Callable[[Placement], ModelRunner]


@pytest.fixture(params=RUNNERS, scope="module")
def load(request: pytest.FixtureRequest) -> Load:
    fixture = ARTIFACTS.get(request.param)
    artifact: Path | None = request.getfixturevalue(fixture) if fixture else None
    if request.param == "onnx on a device":
        onnx = pytest.importorskip("server.runners.onnx.loading")
        return partial(onnx.load, artifact, report=lambda _: None, device_rows=True)
    return lambda placement: load_runner(request.param, artifact, placement, lambda _: None)


@pytest.fixture
def copies(request: pytest.FixtureRequest, load: Load) -> bool:
    """Whether this engine has to be able to copy a prefix."""
    return request.node.callspec.params["load"] not in CANNOT_COPY


@pytest.fixture
def runner(load: Load) -> Iterator[ModelRunner]:
    loaded = load(PLACEMENT)
    yield loaded
    loaded.close()


def run(runner: ModelRunner, slot: int, tokens: list[int], start: int = 0) -> int:
    """Feed tokens; the best next one."""
    segment = Segment(slot, tokens, start, range(len(tokens) - 1, len(tokens)))
    return int(runner.forward([segment]).argmax([0])[0])


def continued(runner: ModelRunner, slot: int, tokens: list[int], count: int = 6, start: int = 0) -> list[int]:
    """The next `count` tokens, greedily."""
    out = [run(runner, slot, tokens[start:], start)]
    for _ in range(count - 1):
        out.append(run(runner, slot, [out[-1]], len(tokens) + len(out) - 1))
    return out


def row(runner: ModelRunner, slot: int, tokens: list[int], start: int = 0) -> FloatRows:
    """Feed tokens; the logits of the next one."""
    segment = Segment(slot, tokens, start, range(len(tokens) - 1, len(tokens)))
    logits: FloatRows = runner.forward([segment]).host([0])[0].copy()
    return logits


def assert_alike(found: FloatRows, expected: FloatRows) -> None:
    """The same but for the rounding of a kernel that saw another chunk; other tokens differ by tens, not by one."""
    assert np.abs(found - expected).max() < 1.0
    assert expected.max() - expected[found.argmax()] < 0.5


def prompts(runner: ModelRunner) -> list[list[int]]:
    texts = ["Once upon a time", "The capital of France is", "Water boils at", TEXT]
    return [runner.tokenizer.encode(text, special=True) for text in texts]


def test_slots_do_not_hear_each_other(runner: ModelRunner) -> None:
    expected = []
    for tokens in prompts(runner):
        expected.append(continued(runner, 0, tokens))
        runner.truncate(0, 0)
    assert [continued(runner, slot, tokens) for slot, tokens in enumerate(prompts(runner))] == expected


def test_prompts_and_decodes_mix_in_one_batch(runner: ModelRunner) -> None:
    first, second, third, _ = prompts(runner)
    expected = continued(runner, 0, first)
    runner.truncate(0, 0)
    out = [run(runner, 0, first)]
    mates = {1: second, 2: third}
    for step in range(5):
        batch = [Segment(0, [out[-1]], len(first) + step, range(1))]
        if step in mates:
            batch.append(Segment(step, mates[step], 0, range(0)))
        out.append(int(runner.forward(batch).argmax([0])[0]))
    assert out == expected


def test_rows_are_those_that_were_asked_for(runner: ModelRunner) -> None:
    if runner.info.logits == "last":
        pytest.skip("this model computes logits of the last position only, and says so")
    tokens = (prompts(runner)[3] * 2)[:90]
    whole = runner.forward([Segment(0, tokens, 0, range(len(tokens)))]).host(range(len(tokens))).copy()
    assert whole.shape == (90, runner.info.vocab_size)
    assert whole.dtype == np.float32
    for wanted in (range(1), range(10, 20), range(60, 70), range(64, 65), range(80, 90)):
        runner.truncate(0, 0)
        part = runner.forward([Segment(0, tokens, 0, wanted)]).host(range(len(wanted))).copy()
        np.testing.assert_allclose(part, whole[wanted.start : wanted.stop], atol=0.05, rtol=0.01)
    runner.truncate(0, 0)
    nothing = runner.forward([Segment(0, tokens, 0, range(0))])
    assert nothing.argmax([]).shape == (0,)


def test_the_best_tokens_are_those_of_the_rows(runner: ModelRunner) -> None:
    batch = [
        Segment(slot, tokens, 0, range(len(tokens) - 1, len(tokens))) for slot, tokens in enumerate(prompts(runner))
    ]
    logits = runner.forward(batch)
    for rows in ([0, 1, 2, 3], [2], [3, 1]):
        assert logits.argmax(rows).tolist() == logits.host(rows).argmax(axis=1).tolist()
        assert logits.argmax(rows).dtype == np.int64


def test_a_batch_beyond_the_engine_s_limit_is_split(load: Load) -> None:
    runner = load(Placement(threads=2, slots=2, context=1000, cache_tokens=2048))
    tokens = (prompts(runner)[3] * 20)[:900]
    wanted = range(899, 900) if runner.info.logits == "last" else range(505, 900)
    logits = runner.forward([Segment(0, tokens, 0, wanted)])
    assert logits.host(range(len(wanted))).shape == (len(wanted), runner.info.vocab_size)
    assert run(runner, 0, [tokens[0]], 900) >= 0
    runner.close()


def test_a_mixed_batch_is_as_good_as_each_alone(runner: ModelRunner) -> None:
    first, second, third, fourth = prompts(runner)
    expected = [row(runner, slot, tokens) for slot, tokens in enumerate([first, second, third, fourth])]
    for slot in range(4):
        runner.truncate(slot, 0)
    runner.forward([Segment(0, first[:-1], 0, range(0)), Segment(3, fourth[:-1], 0, range(0))])
    logits = runner.forward(
        [
            Segment(3, fourth[-1:], len(fourth) - 1, range(1)),
            Segment(1, second, 0, range(len(second) - 1, len(second))),
            Segment(0, first[-1:], len(first) - 1, range(1)),
            Segment(2, third, 0, range(len(third) - 1, len(third))),
        ]
    )
    for number, slot in enumerate((3, 1, 0, 2)):
        assert_alike(logits.host([number])[0], expected[slot])


def test_what_a_slot_holds_outlives_the_growth_of_another(runner: ModelRunner) -> None:
    long = (prompts(runner)[3] * 20)[:500]
    short = prompts(runner)[0]
    expected = continued(runner, 1, short)
    runner.truncate(1, 0)
    out = [run(runner, 1, short)]
    for start in range(0, 500, 100):
        segment = Segment(0, long[start : start + 100], start, range(0))
        out.append(
            int(runner.forward([segment, Segment(1, [out[-1]], len(short) + start // 100, range(1))]).argmax([0])[0])
        )
    assert out == expected
    piecewise = row(runner, 0, [long[0]], 500)
    runner.truncate(0, 0)
    assert_alike(row(runner, 0, [*long, long[0]]), piecewise)


def test_a_closed_model_gives_its_memory_back(load: Load) -> None:
    """The first load brings libraries and an allocator keeps what it likes, but a leak shows in every later one."""
    left = []
    for _ in range(5):
        runner = load(PLACEMENT)
        run(runner, 0, prompts(runner)[3])
        runner.close()
        del runner
        gc.collect()
        left.append(psutil.Process().memory_info().rss)
    grown = [after - before for before, after in itertools.pairwise(left)]
    assert min(grown) < 30e6, f"bytes that a model left behind, of which each has 75 million or more: {grown}"


@pytest.mark.parametrize("length", [1, 17, 64])
def test_a_copied_prefix_is_as_good_as_its_own(runner: ModelRunner, copies: bool, length: int) -> None:
    tokens = prompts(runner)[3]
    expected = row(runner, 0, tokens)
    assert runner.copy_prefix(0, 1, length) == copies
    if not copies:
        assert_alike(row(runner, 1, tokens), expected)  # the target is empty
        return
    assert_alike(row(runner, 1, tokens[length:], length), expected)
    assert runner.truncate(0, 0)
    assert runner.copy_prefix(1, 0, length), "a slot that was emptied can be a target"
    assert_alike(row(runner, 0, tokens[length:], length), expected)


def test_a_truncated_slot_goes_on_from_there(runner: ModelRunner) -> None:
    tokens = prompts(runner)[3]
    expected = row(runner, 0, tokens)
    start = 11 if runner.truncate(0, 11) else 0
    assert_alike(row(runner, 0, tokens[start:], start), expected)


def test_a_full_cache_commits_nothing(load: Load) -> None:
    runner = load(Placement(threads=2, slots=4, context=256, cache_tokens=256))
    if runner.info.cache_tokens is None:
        runner.close()
        pytest.skip("every slot of this engine has a cache of its own")
    tokens = (prompts(runner)[3] * 4)[:100]
    run(runner, 0, tokens)
    with pytest.raises(CacheFull):
        runner.forward([Segment(slot, tokens, 0, range(99, 100)) for slot in (1, 2)])
    after = run(runner, 1, tokens)  # starts at 0, so the failed batch left nothing there
    runner.truncate(0, 0)
    assert run(runner, 0, tokens) == after
    runner.truncate(0, 0)
    runner.truncate(1, 0)
    assert continued(runner, 2, tokens[:50]) == continued(runner, 3, tokens[:50])
    runner.close()


def test_text_survives_the_tokenizer(runner: ModelRunner) -> None:
    tokenizer = runner.tokenizer
    tokens = tokenizer.encode(TEXT, special=False)
    assert b"".join(map(tokenizer.token_bytes, tokens)).decode() == TEXT
    marked = f"<|im_start|>user\n{TEXT}<|im_end|>"
    as_special, as_text = (tokenizer.encode(marked, special=special) for special in (True, False))
    assert len(as_special) < len(as_text)
    assert b"".join(map(tokenizer.token_bytes, as_text)).decode() == marked
    assert tokenizer.eos_ids
    assert all(tokenizer.token_bytes(token) == b"" for token in tokenizer.eos_ids)
    assert tokenizer.chat_template


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("content", [None, b"", b"GGUF garbage " * 100], ids=["missing", "empty", "garbage"])
def test_what_is_no_model_is_refused(backend: str, content: bytes | None, tmp_path: Path) -> None:
    artifact = tmp_path / "model.gguf"
    if content is not None:
        artifact.write_bytes(content)
    with pytest.raises(LoadFailed, match=r"model\.gguf"):
        load_runner(backend, artifact, PLACEMENT, lambda _: None)


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(LoadFailed, match="fake, genai, llama, onnx"):
        load_runner("tpu", None, PLACEMENT, lambda _: None)


def test_a_released_cache_is_empty_and_works_again(runner: ModelRunner) -> None:
    tokens = runner.tokenizer.encode(TEXT, special=False)[:40]
    expected = continued(runner, 0, tokens)
    run(runner, 1, tokens)
    runner.release_cache()
    runner.release_cache()  # there is nothing left to give
    assert runner.truncate(0, 0)
    assert runner.truncate(1, 0)
    assert continued(runner, 0, tokens) == expected
    assert continued(runner, 1, tokens) == expected


def test_how_threads_wait_changes_nothing_that_slots_hold(runner: ModelRunner) -> None:
    tokens = runner.tokenizer.encode(TEXT, special=False)[:40]
    expected = continued(runner, 0, tokens)
    first = run(runner, 1, tokens)
    assert first == expected[0]
    said = [first]
    for spin in (False, True, True, False):
        runner.set_spin(spin)
        said.append(run(runner, 1, [said[-1]], len(tokens) + len(said) - 1))
    assert said == expected[: len(said)]
    runner.truncate(0, 0)
    runner.truncate(1, 0)


@pytest.mark.real
def test_a_model_that_is_opened_again_is_there_once(real_folder: Path) -> None:
    runner = load_runner("onnx", real_folder, PLACEMENT, lambda _: None)
    tokens = runner.tokenizer.encode(TEXT, special=False)[:40]
    run(runner, 0, tokens)
    process = psutil.Process()
    before = process.memory_info().rss
    for spin in (False, True, False, True):
        runner.set_spin(spin)
    assert process.memory_info().rss < before + 100e6  # its weights are 145 MB
    runner.close()
