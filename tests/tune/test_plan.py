"""What `cupola tune` measures."""

from server.models.select import Candidate, Choice, rank
from server.tune.plan import Setting, contenders, first_setting, further_settings, runnable

from ..models.test_select import ALL, EXACT, GGUF, INT4, facts, measurement, pulled


def variants(choices: list[Choice]) -> set[str]:
    return {choice.variant.name for choice in choices}


def test_settings_are_each_tried_once() -> None:
    assert further_settings("llama", 1) == []
    assert further_settings("onnx", 1) == [Setting(1, spin=False)]
    every = [first_setting(8), *further_settings("onnx", 8)]
    assert len(set(every)) == len(every) == 6
    assert {setting.threads for setting in every} == {8, 6, 4}


def test_what_gives_quality_away_is_measured_and_what_is_absent_made() -> None:
    absent = [pulled(GGUF), Candidate(EXACT, None), Candidate(INT4, None)]
    choices = rank(absent, facts(), None, 10)
    assert variants(runnable(choices, create=True)) == {"gguf", "onnx-exact", "onnx-int4"}
    assert variants(runnable(choices, create=False)) == {"gguf"}


def test_what_cannot_run_or_does_not_fit_is_left_out() -> None:
    assert variants(runnable(rank(ALL, facts("onnx"), None, 10), create=True)) == {"onnx-exact", "onnx-int4"}
    large = [pulled(GGUF, needs=2), pulled(EXACT, needs=1)]
    assert variants(runnable(rank(large, facts(memory=1), None, 10), create=True)) == {"onnx-exact"}


def test_a_variant_is_measured_on_one_engine() -> None:
    twice = [pulled(EXACT), pulled(EXACT.model_copy(update={"backend": "genai"}))]
    assert [c.variant.backend for c in runnable(rank(twice, facts(), None, 10), create=True)] == ["onnx"]


def test_only_those_that_may_be_chosen_are_tuned_further() -> None:
    fast, near, far, slow = (
        measurement(ALL[0], 200, 400),
        measurement(ALL[1], 190, 390),
        measurement(ALL[2], 900, 900, kl=0.5),
        measurement(ALL[1], 20, 40),
    )
    assert contenders([fast, near, far, slow], 0.02) == [fast, near]
    assert contenders([far], 0.02) == []
