from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ModelNotFound
from server.models.names import ModelName


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("smollm2", ModelName("smollm2")),
        ("SmolLM2-135M-Instruct", ModelName("smollm2-135m-instruct")),
        ("smollm2:latest", ModelName("smollm2")),
        ("smollm2:1", ModelName("smollm2")),
        ("smollm2@llama", ModelName("smollm2", engine="llama")),
        ("smollm2:1@gguf-q4_1+support", ModelName("smollm2", engine="gguf-q4_1", adapter="support")),
        ("smollm2+support", ModelName("smollm2", adapter="support")),
    ],
)
def test_parse(text: str, parsed: ModelName) -> None:
    assert ModelName.parse(text) == parsed


@pytest.mark.parametrize("text", ["", " ", "a b", "@llama", "a@", "a+", "a:", "a+b@c", "a@b:1", "../a", "a/b", "é"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ModelNotFound, match="is not a model name") as caught:
        ModelName.parse(text)
    assert caught.value.param == "model"


def test_a_version_that_does_not_exist() -> None:
    with pytest.raises(ModelNotFound, match="has no version '7'"):
        ModelName.parse("smollm2:7")


_words = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)


@given(st.builds(ModelName, _words, st.just("latest"), st.none() | _words, st.none() | _words))
def test_a_name_survives_printing(name: ModelName) -> None:
    assert ModelName.parse(str(name)) == name


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_a_404(text: str) -> None:
    with suppress(ModelNotFound):
        assert ModelName.parse(text).name == text.strip().lower()[: len(ModelName.parse(text).name)]
