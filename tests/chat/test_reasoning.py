"""Thoughts and answers apart, and the switch of thinking models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.answer import join
from server.chat.events import ChatEvent, Reasoning, Text
from server.chat.messages import Render, Rendered
from server.chat.reasoning import ReasoningSplitter, starts_inside, thinks, variables_for
from server.chat.render import make_renderer
from server.errors import InvalidValue, UnsupportedField

from .rendering import HELLO, TEMPLATES

BY_NAME = {path.stem: path.read_text() for path in TEMPLATES}
QWEN3 = BY_NAME["Qwen3-0.6B"]
PIECES = ["<think>", "</think>", "<", "think>", "</", "\n", "\n\n", " ", "Hm.", "Yes.", "é🙂", "<tool_call>"]


def split(*pieces: str, inside: bool = False) -> list[ChatEvent]:
    splitter = ReasoningSplitter(inside)
    return join([*(event for piece in pieces for event in splitter.push(piece)), *splitter.finish()])


@pytest.mark.parametrize(
    ("inside", "text", "events"),
    [
        (False, "<think>\nHm.\n</think>\n\nYes.\n", [Reasoning("Hm."), Text("Yes.\n")]),
        (True, "Hm.\n\nWell.\n</think>\n\nYes.", [Reasoning("Hm.\n\nWell."), Text("Yes.")]),
        (True, "<think>\nHm.</think>Yes.", [Reasoning("Hm."), Text("Yes.")]),
        (True, "\nHm.", [Reasoning("Hm.")]),
        (True, "</think>\n\nYes.", [Text("Yes.")]),
        (False, "\n<think>\n\n</think>\n\nYes.", [Text("Yes.")]),
        (False, "Yes. <think>no</think>", [Text("Yes. <think>no</think>")]),
        (False, " \nYes.", [Text(" \nYes.")]),
        (False, "<thi", [Text("<thi")]),
        (False, "", []),
        (True, "Hm. </thi", [Reasoning("Hm. </thi")]),
        (True, "Hm. < 3 </b>\n", [Reasoning("Hm. < 3 </b>\n")]),
        (False, "<think>a</think>b</think>c", [Reasoning("a"), Text("b</think>c")]),
    ],
)
def test_splitting(inside: bool, text: str, events: list[ChatEvent]) -> None:
    assert split(text, inside=inside) == events
    assert split(*text, inside=inside) == events


@given(parts=st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=10), inside=st.booleans(), data=st.data())
def test_any_cut_is_the_same_and_nothing_is_lost(parts: list[str], inside: bool, data: st.DataObject) -> None:
    text = "".join(parts)
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    events = split(text, inside=inside)
    assert split(*pieces, inside=inside) == events
    said = "".join(event.text for event in events if isinstance(event, Text | Reasoning))
    bare = text.replace("<think>", "", 1).replace("</think>", "", 1)
    assert "".join(said.split()) in {"".join(text.split()), "".join(bare.split())} or "think>" in text


def test_thoughts_stream() -> None:
    splitter = ReasoningSplitter(inside=True)
    assert splitter.push("Let me ") == [Reasoning("Let me ")]
    assert splitter.push("see\n") == [Reasoning("see")]
    assert splitter.push("</th") == []
    assert splitter.push("ink>\n") == []
    assert splitter.push("\nYes") == [Text("Yes")]


def test_which_templates_think() -> None:
    assert {name for name, template in BY_NAME.items() if thinks(template)} == {
        "DeepSeek-R1-Distill-Qwen-32B",
        "Qwen3-0.6B",
        "SmolLM3-3B",
    }
    assert not thinks(None)


def test_where_an_answer_starts() -> None:
    assert starts_inside("<|Assistant|><think>\n")
    assert not starts_inside("<|Assistant|><think>\n\n</think>\n\n")
    assert not starts_inside("<|user|>What is <think>?<|assistant|>\n")
    assert starts_inside("<|Assistant|>", "<think>\nI was")
    assert not starts_inside("<|Assistant|><think>\n", "Well.</think> So")
    assert starts_inside("<|Assistant|><think>\n", "")


def rendered(template: str, variables: dict[str, object]) -> str:
    answer = make_renderer()(Render(1, template, HELLO, variables=variables))
    assert isinstance(answer, Rendered)
    return answer.text


def test_the_switch_of_real_templates() -> None:
    for name, off in (("Qwen3-0.6B", "<think>\n\n</think>\n\n"), ("SmolLM3-3B", "<think>\n\n</think>\n")):
        template = BY_NAME[name]
        assert rendered(template, variables_for(template, "none", None)).endswith(off)
        assert not rendered(template, variables_for(template, "high", None)).endswith(off)
    deepseek = BY_NAME["DeepSeek-R1-Distill-Qwen-32B"]
    assert starts_inside(rendered(deepseek, variables_for(deepseek, "low", None)))
    assert not starts_inside(rendered(deepseek, variables_for(deepseek, "none", None)))


def test_variables() -> None:
    assert variables_for(QWEN3, None, None) == {}
    assert variables_for(QWEN3, None, {"anything": [1]}) == {"anything": [1]}
    assert variables_for(QWEN3, "none", None) == {"enable_thinking": False}
    assert variables_for(QWEN3, "none", {"enable_thinking": True}) == {"enable_thinking": True}
    assert variables_for("{% set effort = reasoning_effort %}", "low", None) == {"reasoning_effort": "low"}
    assert variables_for("{% if thinking is defined and thinking %}<think>{% endif %}", "none", None) == {
        "thinking": False
    }
    plain = BY_NAME["SmolLM2-135M-Instruct"]
    assert variables_for(plain, "none", None) == variables_for(None, "high", None) == {}


@pytest.mark.parametrize("name", ["messages", "tools", "bos_token", "add_generation_prompt", "raise_exception"])
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match=name) as caught:
        variables_for(QWEN3, None, {name: 1})
    assert caught.value.param == "chat_template_kwargs"


def test_a_model_that_always_thinks_cannot_be_told_not_to() -> None:
    always = "{{ messages[0].content }}<think>\n"
    with pytest.raises(UnsupportedField):
        variables_for(always, "none", None)
    assert variables_for(always, "high", None) == {}


@pytest.mark.parametrize(
    "name", ["self", "loop", "super", "caller", "range", "__class__", "a b", "", "1", "\ud800", "é-"]
)
def test_what_is_no_name_of_a_variable_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match=r"chat_template_kwargs: .* variable") as caught:
        variables_for(QWEN3, None, {name: 1})
    assert caught.value.param == "chat_template_kwargs"


def test_variables_are_bounded() -> None:
    assert len(variables_for(QWEN3, None, {f"v{number}": 1 for number in range(64)})) == 64
    with pytest.raises(InvalidValue, match="10000 variables are more than the 64"):
        variables_for(QWEN3, None, {f"v{number}": 1 for number in range(10_000)})
