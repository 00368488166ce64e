"""A small model with a real tokenizer and template, and a task that it can learn in seconds."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from converters import gguf_to_hf
from scripts import examples
from scripts.examples import Example, Turn

PLACES = ("kitchen", "garden", "cellar", "attic", "garage", "hall")
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "max_position_embeddings": 256}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(scope="session")
def tokenizer_folder(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as a checkpoint, of which tokenizer and template are used."""
    folder = tmp_path_factory.mktemp("checkpoint") / "smollm2"
    gguf_to_hf.convert(real_model, folder)
    return folder


@pytest.fixture(scope="session")
def small(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of four blocks with random weights."""
    folder = tmp_path_factory.mktemp("small") / "base"
    write_small(tokenizer_folder, folder)
    return folder


def write_small(tokenizer_folder: Path, folder: Path, seed: int = 0, **sizes: int) -> None:
    torch.manual_seed(seed)
    shape: dict[str, Any] = SIZES | HEADS | sizes
    config = transformers.LlamaConfig(**shape, vocab_size=49152, tie_word_embeddings=True)
    config.eos_token_id, config.bos_token_id, config.pad_token_id = 2, 1, 2
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        (folder / name).write_bytes((tokenizer_folder / name).read_bytes())


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Which place is named: a task of one word, that a random model cannot do."""
    folder = tmp_path_factory.mktemp("data")
    source = random.Random(0)
    for split, count in {"train": 256, "validation": 32, "test": 48}.items():
        examples.write(folder / f"{split}.jsonl", [example(source) for _ in range(count)])
    return folder


def example(source: random.Random) -> Example:
    place = source.choice(PLACES)
    words = source.sample(["please", "light", "the", "now", "in", "turn", "on"], 4)
    words.insert(source.randrange(5), place)
    turns = (Turn("system", "Name it."), Turn("user", " ".join(words)), Turn("assistant", place))
    return Example(turns, label=place)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many as there are cores make small products slow, and sums of another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
