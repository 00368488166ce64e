"""Trainings that learn: every method, a kill in the middle, two processes, and what stops one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from scripts import examples
from scripts.examples import Example, Turn
from scripts.finetuning.batches import Collator
from scripts.finetuning.encoding import IGNORED, Encoder, load_tokenizer
from scripts.finetuning.loading import load_trained
from scripts.finetuning.objective import NextToken, load_loss
from scripts.finetuning.recipe import Recipe, load
from scripts.finetuning.train import train
from scripts.finetuning.watching import read_log
from scripts.reporting import Reporter
from server.environment import child_environment
from server.errors import CupolaError, InvalidValue, StorageFull
from server.models.lineage import read_record
from server.settings import Settings
from tests.scripts.conftest import PLACES

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
TWO = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
QUICK: dict[str, Any] = {
    "steps": 60, "batch": 16, "schedule": "constant", "warmup": 0.1, "evaluate_every": 20, "precision": "fp32",
    "patience": None,
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 3e-3},
    "lora": {"learning_rate": 1e-2, "lora": {"rank": 16, "dropout": 0}},
    "qlora": {"learning_rate": 1e-2, "lora": {"rank": 16, "dropout": 0}},
    "bottleneck": {"learning_rate": 1e-2, "bottleneck": {"size": 64}},
}


class Told(Reporter):
    """Keeps what a training says."""

    def __init__(self) -> None:
        super().__init__(None)
        self.sentences: list[str] = []

    def step(self, fraction: float, doing: str, **figures: float) -> None:
        """Nobody looks."""

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def recipe(base: Path, data: Path, **fields: Any) -> Recipe:
    return Recipe.model_validate({"base": str(base), "data": data} | QUICK | fields)


def accuracy(model: Any, tokenizer: Any, data: Path) -> float:
    """Share of test examples that are answered word for word."""
    encoder, found = Encoder(tokenizer, 256), examples.read(data / "test.jsonl")
    right = 0
    for example in found:
        prompt = torch.tensor([encoder.prompt(example)])
        with torch.no_grad():
            made = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
        right += tokenizer.decode(made[0, prompt.shape[1] :], skip_special_tokens=True).strip() == example.answer
    return right / len(found)


@pytest.fixture(scope="module")
def taught(small: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives wrong answers: for every place another. A random one has nothing that adapters could use."""
    folder = tmp_path_factory.mktemp("taught")
    other = dict(zip(PLACES, [*PLACES[1:], PLACES[0]], strict=True))
    for split in ("train", "validation"):
        found = examples.read(data / f"{split}.jsonl")
        wrong = [Example((*item.prompt, Turn("assistant", other[item.answer]))) for item in found]
        examples.write(folder / f"{split}.jsonl", wrong)
    told = recipe(small, folder, method="full", learning_rate=5e-3, steps=120)
    return train(told, folder / "run", Settings(), Told()).model


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_is_read_again(method: str, taught: Path, data: Path, tmp_path: Path) -> None:
    small, tokenizer = taught, load_tokenizer(taught)
    before = accuracy(load_trained(small), tokenizer, data)
    assert before < 0.2
    made = train(recipe(small, data, method=method, **METHODS[method]), tmp_path / "run", Settings(), Told())
    assert made.validation < made.validation_before / 2
    assert accuracy(load_trained(made.model), tokenizer, data) > 0.7
    assert (made.trained_parameters == made.parameters) == (method == "full")
    record = read_record(made.model)
    assert record is not None
    assert record.steps[-1].tool == "finetune"
    assert record.datasets.keys() == {"train.jsonl", "validation.jsonl"}
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert [entry.step for entry in log if entry.loss is not None] == list(range(1, 61))
    assert [entry.step for entry in log if entry.validation is not None] == [0, 20, 40, 60]
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    with pytest.raises(InvalidValue, match="finished"):
        train(recipe(small, data, method=method, **METHODS[method]), tmp_path / "run", Settings(), Told())


def start(
    path: Path, output: Path, *before: str, tool: str = "finetune", into: Any = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, *before, "-m", "scripts", tool, str(path), "-o", str(output)]
    environment = child_environment() | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=into, start_new_session=True)


def losses(output: Path) -> dict[int, float]:
    return {entry.step: entry.loss for entry in read_log(output / "log.jsonl") if entry.loss is not None}


@pytest.fixture
def written(small: Path, data: Path, tmp_path: Path) -> Path:
    """A recipe whose every random source counts: order, dropout, schedule."""
    fields = {"method": "lora", "steps": 24, "evaluate_every": 4, "learning_rate": 5e-3, "schedule": "cosine"}
    path = tmp_path / "recipe.yaml"
    told = QUICK | fields | {"base": str(small), "data": str(data), "lora": {"dropout": 0.2}}
    path.write_text(yaml.safe_dump(told))
    return path


def test_a_killed_training_goes_on_as_if_nothing_had_been(written: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    uninterrupted = start(written, whole)
    process = start(written, broken)
    moment = random.Random(3).randrange(9, 20)
    while max(losses(broken), default=0) < moment:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    half = max((broken / "checkpoints").iterdir())
    (broken / "checkpoints" / "checkpoint-23").mkdir(exist_ok=True)  # as a kill in the middle of writing leaves it
    (broken / "checkpoints" / "checkpoint-23" / "model.safetensors").write_bytes(b"half of")
    assert half.is_dir()
    assert start(written, broken).wait() == 0
    assert uninterrupted.wait() == 0
    assert losses(broken).keys() == losses(whole).keys()
    assert losses(broken) == pytest.approx(losses(whole), abs=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's rendezvous here is of Unix")
def test_two_processes_learn_as_one(written: Path, tmp_path: Path) -> None:
    fields = yaml.safe_load(written.read_text()) | {"lora": {"dropout": 0}}
    written.write_text(yaml.safe_dump(fields))
    alone = start(written, tmp_path / "one")
    with (tmp_path / "said").open("wb") as said:
        both = start(written, tmp_path / "two", *TWO, into=said)
    assert alone.wait() == 0
    assert both.wait() == 0
    assert (tmp_path / "said").read_text().count("Validation loss") == 1
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 24
    assert two == pytest.approx(one, abs=1e-3)


def test_it_warns_of_overfitting_and_stops_early(small: Path, data: Path, tmp_path: Path) -> None:
    """Names that are drawn anew for validation cannot be learned by heart."""
    source = random.Random(1)

    def drawn(count: int) -> list[Example]:
        pairs = [(str(source.random()), source.choice("abcdefgh")) for _ in range(count)]
        return [Example((Turn("user", number), Turn("assistant", letter))) for number, letter in pairs]

    for split, count in {"train": 16, "validation": 16}.items():
        examples.write(tmp_path / f"{split}.jsonl", drawn(count))
    told = Told()
    fields = {"method": "full", "learning_rate": 3e-3, "patience": 3, "steps": 200, "evaluate_every": 5, "batch": 8}
    made = train(recipe(small, tmp_path, **fields), tmp_path / "run", Settings(), told)
    assert made.steps < made.of
    assert [sentence for sentence in told.sentences if "overfits" in sentence]
    log = [entry.validation for entry in read_log(tmp_path / "run" / "log.jsonl") if entry.validation is not None]
    assert made.validation == min(log[1:]) < log[-1]


def test_a_training_that_spoils_its_base_says_so(taught: Path, data: Path, tmp_path: Path) -> None:
    """Validation asks for the answers that training overwrites: the best checkpoint is worse than the base."""
    for split, source in {"train": data, "validation": taught.parents[1]}.items():
        (tmp_path / f"{split}.jsonl").write_bytes((source / f"{split}.jsonl").read_bytes())
    fields = {"method": "full", "learning_rate": 3e-3, "steps": 6, "evaluate_every": 2, "patience": 3}
    made = train(recipe(taught, tmp_path, **fields), tmp_path / "run", Settings(), Told())
    log = [entry.validation for entry in read_log(tmp_path / "run" / "log.jsonl") if entry.validation is not None]
    assert made.validation_before == log[0] < min(log[1:]) == made.validation
    assert surprise(made.model, tmp_path) == pytest.approx(made.validation, rel=1e-3)


def surprise(folder: Path, data: Path) -> float:
    """The validation loss of what was written."""
    tokenizer = load_tokenizer(folder)
    found = Encoder(tokenizer, 256).all(examples.read(data / "validation.jsonl"), "validation.jsonl")
    batch = Collator(tokenizer.pad_token_id)(found)
    with torch.no_grad():
        return float(NextToken()(load_trained(folder), batch) / (batch["labels"] != IGNORED).sum())


def test_a_loss_of_ones_own(small: Path, data: Path, tmp_path: Path) -> None:
    """Half of the usual loss is half as large, and learns."""
    code = "from torch.nn.functional import cross_entropy\ndef half(logits, targets):\n"
    (tmp_path / "losses.py").write_text(f"{code}    return cross_entropy(logits, targets, reduction='sum') / 2\n")
    fields = {"method": "full", "steps": 2, "evaluate_every": 2}
    plain = train(recipe(small, data, **fields), tmp_path / "plain", Settings(), Told())
    other = recipe(small, data, loss=f"{tmp_path / 'losses.py'}:half", **fields)
    train(other, tmp_path / "half", Settings(), Told())
    first = [losses(tmp_path / name)[1] for name in ("plain", "half")]
    assert first[1] == pytest.approx(first[0] / 2, rel=1e-5)
    assert plain.steps == 2


@pytest.mark.parametrize("fields", [{"micro_batch": 4}, {"packing": True}, {"gradient_checkpointing": True}])
def test_how_a_batch_is_computed_changes_nothing(
    fields: dict[str, Any], small: Path, data: Path, tmp_path: Path
) -> None:
    plain = {"method": "full", "steps": 4, "evaluate_every": 4, "learning_rate": 1e-3}
    train(recipe(small, data, **plain), tmp_path / "plain", Settings(), Told())
    train(recipe(small, data, **plain, **fields), tmp_path / "other", Settings(), Told())
    assert losses(tmp_path / "other") == pytest.approx(losses(tmp_path / "plain"), abs=2e-4)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("base: x\ndata: y\nlearning_rat: 1\n", "learning_rat: there is no such field .did you mean learning_rate"),
        ("base: x\ndata: y\nbatch: 16\nmicro_batch: 5\n", "no multiple of micro_batch 5"),
        ("base: x\n", "data: Field required"),
        ("- a\n", "holds no fields"),
        ("base: [\n", "is no YAML"),
        ("base: nowhere\ndata: DATA\n", "nowhere"),
        ("base: BASE\ndata: EMPTY\n", "There is no file"),
        ("base: BASE\ndata: DATA\nbatch: 512\n", "has 256 examples, and a step takes 512"),
        ("base: BASE\ndata: DATA\nmax_length: 20\n", "more than 20 tokens"),
        ("base: BASE\ndata: DATA\nmethod: lora\nlora: {targets: [nothing]}\n", "lora.targets"),
        ("base: BASE\ndata: DATA\nloss: losses.py:half\n", "Allow it with --allow-scripts"),
        ("base: BASE\ndata: elsewhere\n", "There is no file .*elsewhere/train.jsonl"),
        ("base: &a [*a]\n", "has aliases"),
        ("base: " + "[" * 10_000 + "\n", "nests deeper than 32 levels"),
        ("base: PICKLE\ndata: DATA\n", "is a pickle"),
    ],
)
def test_bad_input_is_one_sentence(text: str, complaint: str, small: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "config.json").write_text("{}")
    (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    places = {"BASE": small, "DATA": data, "EMPTY": tmp_path / "empty", "PICKLE": tmp_path / "pickle"}
    for name, place in places.items():
        text = text.replace(name, json.dumps(str(place)))
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(CupolaError, match=complaint) as caught:
        train(load(path), tmp_path / "run", Settings(home=tmp_path), Told())
    assert "\n" not in caught.value.message


def test_a_loss_is_code_and_has_to_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("base: smollm2\ndata: data\nloss: os\n")
    told = load(path, allow_scripts=True)
    assert told.data == tmp_path / "data", "from the folder of the recipe"
    assert load(path, {"data": "data", "loss": None}).data == Path("data"), "an option's is from where one is"
    with pytest.raises(InvalidValue, match=r"neither package\.module:name"):
        load_loss(told.loss or "")


def test_a_full_disk_is_said_and_the_training_goes_on_afterwards(
    small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch says it, in the middle of the second checkpoint."""
    told, written = recipe(small, data, method="full", steps=4, evaluate_every=2), torch.save
    usage = shutil.disk_usage(tmp_path)

    def full(content: Any, file: Any, *more: Any, **options: Any) -> None:
        if "checkpoint-4" in str(file):
            Path(file).write_bytes(b"half of")
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 798594368 vs 798594256")
        written(content, file, *more, **options)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageFull, match="goes on from its last whole checkpoint"):
        train(told, tmp_path / "run", Settings(), Told())
    monkeypatch.undo()
    assert train(told, tmp_path / "run", Settings(), Told()).resumed_at == 2
