"""What is learned is what will be asked for: the tokens of the server's own renderer."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.examples import Example, Turn
from scripts.finetuning.batches import Collator, Packer, inputs_of
from scripts.finetuning.encoding import IGNORED, Encoder, load_tokenizer
from scripts.finetuning.model import load_model
from scripts.finetuning.objective import NextToken
from server.errors import InvalidValue
from tests.chat.rendering import running_renderer

pytestmark = pytest.mark.real
TURNS = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"), ("assistant", "Farewell."))
CHAT = Example(tuple(Turn(role, content) for role, content in TURNS))  # type: ignore[arg-type]
STRIPPED = (  # what the last answer was thought of is written, and what earlier ones were is left out, as in Qwen3's
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHORT = Example((Turn("user", "2 + 2?"), Turn("assistant", "4")))


@pytest.fixture(scope="module")
def tokenizer(small: Path) -> Any:
    return load_tokenizer(small)


def learned(tokenizer: Any, example: Example, answers: str) -> str:
    encoded = Encoder(tokenizer, 256, answers).one(example)  # type: ignore[arg-type]
    assert all(label in (IGNORED, token) for label, token in zip(encoded.labels, encoded.tokens, strict=True))
    return str(tokenizer.decode([label for label in encoded.labels if label != IGNORED]))


def test_only_answers_are_learned_with_their_end(tokenizer: Any) -> None:
    assert learned(tokenizer, CHAT, "last") == "Farewell.<|im_end|>\n"
    assert learned(tokenizer, CHAT, "all") == "Hello.<|im_end|>\nFarewell.<|im_end|>\n"
    assert learned(tokenizer, Example(text="All of it."), "last") == " of it."  # nothing stands before the first


def test_no_answer_reaches_into_the_next_turn(small: Path) -> None:
    """Alone an earlier answer is longer than in the whole, so its end there is in the turn behind it."""
    thinking = load_tokenizer(small)
    thinking.chat_template = STRIPPED
    assert learned(thinking, CHAT, "last") == "<think>\n\n</think>\n\nFarewell.<|im_end|>\n"
    with pytest.raises(InvalidValue, match=r"writes an earlier answer otherwise.*take answers: last"):
        learned(thinking, CHAT, "all")


def test_the_prompt_is_the_servers(tokenizer: Any, tokenizer_folder: Path) -> None:
    template = (tokenizer_folder / "chat_template.jinja").read_text()
    text = asyncio.run(rendered(template, CHAT))
    assert Encoder(tokenizer, 256).prompt(CHAT) == tokenizer(text, add_special_tokens=False)["input_ids"]


async def rendered(template: str, example: Example) -> str:
    """What the server makes of the prompt."""
    async with running_renderer(30) as renderer:
        messages = [{"role": turn.role, "content": turn.content} for turn in example.prompt]
        return await renderer.render(template, messages)


def test_what_cannot_be_learned_is_said(tokenizer: Any) -> None:
    with pytest.raises(InvalidValue, match=r"1 of 2 examples of train.jsonl have more than 38 tokens.*has \d+"):
        Encoder(tokenizer, 38).all([SHORT, CHAT], "train.jsonl")


def test_a_tokenizer_without_template_is_refused(small: Path) -> None:
    bare = load_tokenizer(small)
    bare.chat_template = None
    with pytest.raises(InvalidValue, match="no chat template"):
        Encoder(bare, 100)


def test_a_template_that_never_ends_is_stopped(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "looping"
    shutil.copytree(small, folder)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(loop + "{{ messages[0].content }}")
    with pytest.raises(InvalidValue, match=r"chat template took longer than .* s and was stopped\. Two short messages"):
        load_tokenizer(folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no assistant here') }}")
    assert load_tokenizer(folder).chat_template  # it refuses this conversation, and that is all that is known


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_is_worth_its_examples(tokenizer: Any, small: Path, packed: bool) -> None:
    """Neither padding nor neighbours in a row change a loss."""
    model = load_model(small).eval()
    encoder = Encoder(tokenizer, 256)
    encoded = encoder.all([CHAT, SHORT], "x")
    collate = Packer() if packed else Collator(tokenizer.pad_token_id)
    objective = NextToken()
    with torch.no_grad():
        alone = sum(objective(model, Collator(0)([one])) for one in encoded)
        together = objective(model, collate(encoded))
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


def test_logits_are_computed_where_something_is_learned(tokenizer: Any, small: Path) -> None:
    model = load_model(small)
    batch = Collator(0)(Encoder(tokenizer, 256).all([CHAT, SHORT], "x"))
    logits = model(**inputs_of(batch)).logits
    assert logits.shape[:2] == batch["labels"].shape
    assert batch["labels"].shape[1] < batch["input_ids"].shape[1] // 2
