"""Pruned checkpoints: transformers loads them, and their records say what was done."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from converters import commands
from converters.commands.prune import numbers
from converters.program import build
from converters.pruning.prune import Plan, prune
from converters.quality import prose
from server.errors import InvalidValue
from server.models.lineage import read_record

from .conftest import LAYOUTS, write

EVERYTHING = Plan(blocks=4, width=0.75, sparsity="2:4", tokens=300)


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_what_is_pruned_is_a_checkpoint(architecture: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source", architecture, torch.bfloat16)
    made = prune(source, tmp_path / "made", EVERYTHING, prose(), "prose.txt")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "made", dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.config.num_hidden_layers == len(model.model.layers) == 4
    assert model.config.intermediate_size == 96
    assert sum(parameter.numel() for parameter in model.parameters()) == made.parameters[1] < made.parameters[0]
    if "layer_types" in LAYOUTS[architecture]:
        kept = [kind for block, kind in enumerate(LAYOUTS[architecture]["layer_types"]) if block not in made.dropped]
        assert model.config.layer_types == kept
    weight = model.model.layers[0].mlp.down_proj.weight
    assert ((weight.reshape(-1, 4) != 0).sum(dim=1) <= 2).all()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    tokens = tokenizer("Alice", return_tensors="pt")
    assert model.generate(**tokens, max_new_tokens=4, min_new_tokens=4, do_sample=False).shape[1] == 9
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "made" / name).read_bytes() == (source / name).read_bytes()


def test_the_blocks_that_stay_are_the_source_s(checkpoint: Path, tmp_path: Path) -> None:
    prune(checkpoint, tmp_path / "made", Plan(drop=(1, 4), tokens=300), prose(), "prose.txt")
    before, after = load_file(checkpoint / "model.safetensors"), load_file(tmp_path / "made" / "model.safetensors")
    assert len(after) < len(before)
    for new, old in enumerate((0, 2, 3, 5)):
        name = "model.layers.{}.self_attn.q_proj.weight"
        assert torch.equal(after[name.format(new)], before[name.format(old)])


def test_the_record_says_what_was_done(checkpoint: Path, tmp_path: Path) -> None:
    made = prune(checkpoint, tmp_path / "first", Plan(blocks=5, tokens=300), prose(), "prose.txt")
    prune(tmp_path / "first", tmp_path / "second", Plan(sparsity="2:4", tokens=300), "A longer tale. " * 9, "tale.txt")
    first, second = read_record(tmp_path / "first"), read_record(tmp_path / "second")
    assert first is not None
    assert second is not None
    assert [step.tool for step in second.steps] == ["prune", "prune"]
    assert second.steps[0] == first.steps[0]
    assert second.steps[1].inputs == {"first": first.digest}
    assert set(second.datasets) == {"prose.txt", "tale.txt"}
    step = first.steps[0].parameters
    assert step["dropped"] == ",".join(map(str, made.dropped))
    assert str(step["scores"]).split() == [f"{score:.4f}" for score in made.scores]
    assert step["perplexity_after"] == pytest.approx(made.perplexity[1], abs=1e-4)
    assert {"torch", "transformers"} < set(first.steps[0].versions)
    assert first.tensor_types == {"F32": len(load_file(tmp_path / "first" / "model.safetensors"))}
    assert first.parameters == made.parameters[1]
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(), "Nothing to leave out"),
        (Plan(blocks=6), "keep from 1 to 5"),
        (Plan(blocks=0), "keep from 1 to 5"),
        (Plan(blocks=3, drop=(1,)), "not both"),
        (Plan(drop=(6,)), "blocks 0 to 5"),
        (Plan(blocks=3, importance="luck"), "angular, perplexity"),
        (Plan(sparsity="4:8"), "Known: 2:4"),
    ],
)
def test_a_plan_that_makes_no_sense_leaves_nothing(checkpoint: Path, tmp_path: Path, plan: Plan, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        prune(checkpoint, tmp_path / "made", plan, prose(), "prose.txt")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_pickles_only_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InvalidValue, match="safetensors"):
        prune(source, tmp_path / "made", EVERYTHING, prose(), "prose.txt")


def test_the_command_prints_a_table(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["prune", str(checkpoint), str(tmp_path / "made"), "--blocks", "4", "--grouping", "single"]
    result = CliRunner().invoke(build(commands, ""), [*arguments, "--tokens", "300"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("left out") == 2
    assert "4 blocks, 128 MLP channels" in result.stdout
    assert "before" in result.stdout


def test_the_command_refuses_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        build(commands, ""), ["prune", str(checkpoint), str(tmp_path / "made"), "--drop", "0-5"]
    )
    assert result.exit_code == 1
    assert (
        result.stderr.strip()
        .splitlines()[-1]
        .startswith("Error: The model has blocks 0 to 5; name some of them, and not all.")
    )


def test_blocks_are_named_singly_or_in_runs() -> None:
    assert numbers("3,5-7") == (3, 5, 6, 7)
    assert numbers("") == ()
    with pytest.raises(InvalidValue, match="names no blocks"):
        numbers("3,x")
