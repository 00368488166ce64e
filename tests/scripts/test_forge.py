"""The whole line on a small model: it registers what passes, does once what is done, and goes on after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml

from scripts.forge.gate import judge
from scripts.forge.line import Forging
from scripts.forge.outside import digests
from scripts.forge.plan import Stage, keys, plan
from scripts.forge.recipe import ForgeRecipe, load
from scripts.forge.stages import KINDS, Job, result
from scripts.reporting import Reporter
from server.environment import child_environment
from server.errors import InvalidValue
from server.models.registry import Registry
from server.settings import Settings, load_settings
from tests.serving import running_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
ARTIFACT = {"to": "gguf", "precision": "q8_0", "loss": 0.1}


def fields(small: Path, data: Path, /, **more: Any) -> dict[str, Any]:
    tuned = {"method": "full", "steps": 120, "learning_rate": 5e-3, "schedule": "constant", "evaluate_every": 20}
    return {
        "name": "places",
        "base": str(small),
        "data": {"folder": str(data)},
        "finetune": tuned | {"precision": "fp32", "patience": None},
        "evaluate": {"metrics": ["exact"], "max_tokens": 6, "timed": 0},
        "artifacts": [ARTIFACT],
        "gate": {"least": 0.7, "gain": 0.5},
    } | more


def start(recipe: Path, home: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "server", "forge", str(recipe), "--json", *options]
    environment = child_environment() | {"CUPOLA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)


def forged(recipe: Path, home: Path, *options: str) -> tuple[int, dict[str, Any]]:
    process = start(recipe, home, *options)
    said, _ = process.communicate()
    lines = [json.loads(line) for line in said.splitlines()]
    return process.returncode, lines[-1]


def test_a_line_that_is_killed_goes_on_registers_and_is_served(small: Path, data: Path, tmp_path: Path) -> None:
    recipe, home = tmp_path / "recipe.yaml", tmp_path / "home"
    recipe.write_text(yaml.safe_dump(fields(small, data)))
    process = start(recipe, home)
    work = home / "forge" / "places"
    while not list(work.glob("finetune-*/checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    status, found = forged(recipe, home)
    assert status == 0, found
    assert found["version"] == "places-v1"
    assert found["stages"][0]["cached"], "the data was there"
    [training] = work.glob("finetune-*/done.json")
    assert json.loads(training.read_text())["outcome"]["resumed_at"] in range(20, 120, 20)

    status, again = forged(recipe, home)
    assert status == 0
    assert all(stage["cached"] for stage in again["stages"])
    assert again["version"] == "places-v1", "nothing new, so no new version"

    with running_server(home) as server, server.client(60) as client:
        messages = [{"role": "system", "content": "Name it."}, {"role": "user", "content": "light the now attic turn"}]
        body = {"model": "places", "messages": messages, "max_tokens": 6, "temperature": 0}
        answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"].strip() == "attic"

    changed = fields(small, data, artifacts=[ARTIFACT, {"to": "gguf", "precision": "q4_0", "loss": 1.0}])
    recipe.write_text(yaml.safe_dump(changed))
    status, more = forged(recipe, home)
    assert status == 0, more
    assert more["version"] == "places-v2"
    ran = [stage["name"] for stage in more["stages"] if not stage["cached"]]
    assert ran == ["gguf-q4_0", "quality"], "only what the change changes"
    registry = Registry.load(home / "models.yaml")
    assert registry.resolve("places")[0].name == "places-v2"
    assert registry.resolve("places-v1")[0].aliases == ()

    # Killed when the model was there and nobody had said so; and all of it carried elsewhere.
    training.unlink()
    moved = home / "elsewhere"
    work.rename(moved)
    status, found = forged(recipe, home, "--work", str(moved))
    assert status == 0, found
    assert [stage["name"] for stage in found["stages"] if not stage["cached"]] == ["finetune"]
    assert json.loads(next(moved.glob("finetune-*/done.json")).read_text())["seconds"] < 60
    assert found["version"] == "places-v2"


def test_a_pruned_base_learns_from_the_whole_and_then_by_itself(small: Path, data: Path, tmp_path: Path) -> None:
    """Every stage takes what the one before made, also where that is an adapter."""
    few = {"steps": 4, "evaluate_every": 4, "precision": "fp32", "patience": None}
    told = fields(small, data, prune={"blocks": 3}, gate={}, distil=few | {"teacher": str(small), "method": "lora"})
    told["finetune"] = few | {"method": "lora"}
    recipe, home = tmp_path / "recipe.yaml", tmp_path / "home"
    recipe.write_text(yaml.safe_dump(told))
    status, found = forged(recipe, home)
    assert status == 0, found
    names = [stage["name"] for stage in found["stages"]]
    assert names == [
        "data", "prune", "distil", "distilled", "finetune", "finetuned", "evaluate", "gguf-q8_0", "quality",
    ]  # fmt: skip
    merged = Path(found["stages"][5]["place"])
    record = json.loads((merged / "cupola.json").read_text())
    assert [step["tool"] for step in record["steps"]][-4:] == ["distil", "merge", "finetune", "merge"], record["steps"]
    assert json.loads((merged / "config.json").read_text())["num_hidden_layers"] == 3


def test_what_does_not_pass_is_not_registered(small: Path, data: Path, tmp_path: Path) -> None:
    recipe, home = tmp_path / "recipe.yaml", tmp_path / "home"
    told = fields(small, data, gate={"least": 1.01})
    told["finetune"]["steps"] = 2
    told["finetune"]["evaluate_every"] = 2
    recipe.write_text(yaml.safe_dump(told))
    status, found = forged(recipe, home)
    assert status == 1
    assert found["version"] is None
    assert [check["what"] for check in found["verdict"]["checks"] if not check["passed"]] == ["trained checkpoint"]
    assert not (home / "models.yaml").exists()


def recipe_of(**more: Any) -> ForgeRecipe:
    return ForgeRecipe.model_validate(fields(Path("base"), Path("data"), **more))


def test_a_stage_depends_on_what_is_before_it_and_nothing_else() -> None:
    def named(**more: Any) -> dict[str, str]:
        return keys(plan(recipe_of(**more)), {"base": {"base": "1"}})

    before = named()
    assert list(before) == ["data", "finetune", "finetuned", "evaluate", "gguf-q8_0", "quality"]
    gate = named(gate={"least": 0.1})
    assert gate == before, "the gate decides, and makes nothing"
    other = named(evaluate={"metrics": ["exact"], "max_tokens": 9})
    changed = {name for name in before if other[name] != before[name]}
    assert changed == {"evaluate", "quality"}
    assert not {*keys(plan(recipe_of()), {"base": {"base": "2"}}).values()} & {*before.values()}


def test_a_file_is_read_by_some_stages_and_no_others(tmp_path: Path) -> None:
    """What a recipe names decides the stages that read it, and those after."""
    teacher, schema, loss, data = tmp_path / "teacher", tmp_path / "schema.json", tmp_path / "loss.py", tmp_path / "d"
    for folder in (teacher, data):
        folder.mkdir()
    recipe = recipe_of(
        data={"folder": "d"},
        distil={"teacher": "teacher"},
        evaluate={"metrics": ["exact"], "schema_file": "schema.json"},
        finetune={"loss": "loss.py:mine"},
    )
    (tmp_path / "base").write_text("weights")

    def named(changed: Path, text: str) -> dict[str, str]:
        changed.write_text(text)
        return keys(plan(recipe), digests(recipe, tmp_path / "recipe.yaml", tmp_path / "base", Settings()))

    after = ["finetune", "finetuned", "evaluate", "gguf-q8_0", "quality"]
    every = ["data", "distil", "distilled", *after]
    files = {teacher / "w": every[1:], schema: ["evaluate", "quality"], loss: after, data / "train.jsonl": every}
    for file in files:
        file.write_text("one")
    before = named(schema, "one")
    for file, expected in files.items():
        found = named(file, "another")
        assert [name for name in before if found[name] != before[name]] == expected, file
        before = found
    (tmp_path / "recipe.yaml").write_text("")
    schema.unlink()
    with pytest.raises(InvalidValue, match=r"names schema\.json, and there is no"):
        digests(recipe, tmp_path / "recipe.yaml", tmp_path / "base", Settings())


class Counted(Forging):
    """Runs no process: notes which folders would have been worked in."""

    ran: ClassVar[list[str]] = []

    def _process(self, stage: Stage, folder: Path, share: tuple[float, float]) -> dict[str, Any]:
        self.ran.append(folder.name)
        (folder / "made.jsonl").write_text("")
        return {}


def test_what_a_teacher_has_said_is_kept_for_another_order(tmp_path: Path) -> None:
    """In one folder, with its journal; and it is asked again, since another order may want what was not asked."""
    told = recipe_of(teach={"prompts": "p"}, data={})
    stage = plan(told)[0]
    line = Counted(told, tmp_path / "recipe.yaml", tmp_path / "work", load_settings(home=tmp_path), Reporter(None))
    Counted.ran.clear()
    for key, cached in (("one", False), ("one", True), ("two", False), ("two", True)):
        assert line._stage(stage, key, tmp_path, (0.0, 1.0)).cached is cached
        (tmp_path / "work" / "teach" / "made.journal.jsonl").write_text("what was said")
    assert Counted.ran == ["teach", "teach"]
    line._sweep({tmp_path / "work" / "teach"})
    assert (tmp_path / "work" / "teach" / "made.journal.jsonl").exists()


def test_requests_that_were_not_answered_are_asked_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.teaching.teach.teach", lambda *_: SimpleNamespace(unanswered=2))
    job = Job(kind="teach", order={"prompts": "p"}, places={})
    with pytest.raises(InvalidValue, match=r"2 requests were not answered\. Run it again"):
        KINDS["teach"](job, tmp_path, load_settings(home=tmp_path), Reporter(None))


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_a_data_folder_that_lacks_a_split_stops_the_line_before_it_trains(
    missing: str, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / f"{missing}.jsonl").unlink()
    job = Job(kind="data", order={"folder": "data"}, places={"here": tmp_path})
    with pytest.raises(InvalidValue, match=rf"There is no file .*{missing}\.jsonl\. Make it with"):
        KINDS["data"](job, tmp_path / "stage", load_settings(home=tmp_path), Reporter(None))


def test_a_pruned_base_is_what_learns() -> None:
    told = recipe_of(prune={"blocks": 1}, distil={"teacher": "base"})
    after = {stage.name: stage.needs for stage in plan(told)}
    assert after["prune"] == ()
    assert after["distil"] == ("data", "prune")
    assert after["distilled"] == ("distil", "prune")
    assert after["finetune"] == ("data", "distilled")
    assert "base" not in after
    alone = {stage.name: stage.needs for stage in plan(recipe_of(prune={"width": 0.5}))}
    assert alone["finetune"] == ("data", "prune")
    with pytest.raises(ValueError, match="say what to keep"):
        recipe_of(prune={})


def test_pruning_is_a_stage(small: Path, tmp_path: Path) -> None:
    job = Job(kind="prune", order=recipe_of(prune={"blocks": 1}).prune.model_dump(), places={"model": small})  # type: ignore[union-attr]
    outcome = KINDS["prune"](job, tmp_path, load_settings(home=tmp_path), Reporter(None))
    made = result(job, tmp_path, outcome)
    assert json.loads((made / "config.json").read_text())["num_hidden_layers"] == outcome["blocks"] == 1
    assert (made / "cupola.json").is_file()


def test_the_gate_says_why() -> None:
    artifacts = [ARTIFACT, {"to": "gguf", "precision": "q4_0", "loss": 0.05, "required": False}]
    recipe = recipe_of(artifacts=artifacts)
    good = judge(recipe, 0.0, 0.9, {"gguf-q8_0": 0.85, "gguf-q4_0": 0.7})
    assert good.passed
    assert good.admitted == ["gguf-q8_0"]
    bad = judge(recipe, 0.5, 0.69, {"gguf-q8_0": 0.5, "gguf-q4_0": 0.7})
    assert not bad.passed
    assert bad.reasons == [
        "trained checkpoint: exact is 0.6900, and 0.7000 was asked",
        "over the base: exact is 0.6900, and 1.0000 was asked",
        "gguf-q8_0: exact is 0.5000, and 0.5900 was asked",
    ]
    alone = recipe_of(artifacts=artifacts[1:])
    nothing = judge(alone, 0.0, 0.9, {"gguf-q4_0": 0.7})
    assert not nothing.passed, "there is nothing to register"
    assert nothing.reasons == ["gguf-q4_0: exact is 0.7000, and 0.8500 was asked"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"finetune": None}, "a finetune or a distil section"),
        ({"finetune": {"base": "x"}}, "has a base of its own"),
        ({"artifacts": []}, "artifacts"),
        ({"artifacts": [{"to": "onnx", "precision": "int8", "imatrix": True}]}, "--imatrix is for GGUF"),
        ({"name": "Not A Name"}, "name"),
        ({"gates": {}}, "gates: there is no such field .did you mean gate"),
        ({"finetune": {"step": 3}}, r"recipe\.yaml: finetune\.step: there is no such field .did you mean steps"),
        ({"finetune": {"method": "bottleneck"}}, r"finetune\.method: bottleneck adapters can be neither merged"),
        ({"distil": {"teacher": "x", "on_policy": {"share": 2}}}, r"distil\.on_policy\.share"),
        ({"distil": {}}, r"distil\.teacher: Field required"),
        ({"data": {"source": ["a"]}}, r"data\.sources: Field required"),
        ({"data": {"folder": "d", "near": 0.5}}, r"data\.folder is ready as it is; data\.near would do nothing"),
        ({"teach": {"prompts": "p", "samples": 0}, "data": {}}, r"teach\.samples"),
        ({"teach": {"prompts": "p"}}, "nobody would read what teach brings"),
        ({"evaluate": {"metric": ["exact"]}}, r"evaluate\.metric: there is no such field .did you mean metrics"),
        ({"evaluate": {"metrics": ["exakt"]}}, "no metric 'exakt'"),
        ({"gate": {"metric": "bleu"}}, r"gate\.metric: bleu is not among evaluate\.metrics \(exact\)"),
        ({"evaluate": {"metrics": ["perplexity"]}, "gate": {"metric": "perplexity"}}, "better when lower"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(fields(Path("base"), Path("data"), **change)))
    with pytest.raises(InvalidValue, match=complaint):
        load(path)
