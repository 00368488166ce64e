"""Recipes of Olive: what brings code is refused, and what a conversion corresponds to."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidValue
from server.models import recipe
from server.models.chain import Stage, Wish, merged, stages

PLAIN = {"input_model": {"type": "HfModel", "model_path": "m"}, "passes": {"b": {"type": "ModelBuilder"}}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"input_model": {"type": "HfModel", "load_kwargs": {"trust_remote_code": True}}}, "trust_remote_code"),
        ({"input_model": {"type": "HfModel", "config": {"model_script": "a.py"}}}, "model_script"),
        ({"input_model": {"type": "PyTorchModel", "model_path": "m.pt"}}, "a pytorchmodel"),
        ({"input_model": {"model_path": "m"}}, "without a type"),
        ({"data_configs": [{"name": "d", "user_script": "a.py", "script_dir": "."}]}, "user_script"),
        ({"passes": {"b": [{"type": "ModelBuilder", "extra_options": {"hf_remote": "true"}}]}}, "hf_remote"),
        ({"systems": {"s": {"type": "Docker"}}}, "systems.s.type"),
        ({"host": {"type": "PythonEnvironment"}}, "host.type"),
        ({"engine": {"target": {"type": "PythonEnvironment"}}}, "engine.target.type"),
        ({"systems": {"s": {"accelerators": [{"execution_providers": [["A", "e.bin"]]}]}}}, "execution_providers"),
        ({"systems": {"s": {"accelerators": [{"Execution_Providers": {"A": "e.bin"}}]}}}, "Execution_Providers"),
        ({"systems": {"s": {"config": {"accelerators": [{"execution_providers": [7]}]}}}}, "execution_providers"),
        ({"passes": {"b": {"inference_settings": {"execution_provider": [["A", "e.bin"]]}}}}, "execution_provider"),
        ({"passes": {"b": {"provider_options": [{"backend_path": "/tmp/evil.SO"}]}}}, "backend_path"),
    ],
)
def test_code_is_refused_unless_it_is_allowed(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint) as caught:
        recipe.check(PLAIN | change, allow_scripts=False)
    assert "--allow-scripts" in caught.value.message
    recipe.check(PLAIN | change, allow_scripts=True)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"adapter_path": "lora"}, "input_model.adapter_path, a model beside its own"),
        ({"Adapter_Path": {"type": "local_folder", "config": {"path": "lora"}}}, "a model beside its own"),
        ({"config": {"adapter_path": "lora"}}, "input_model.config.adapter_path"),
        ({"test_model_path": "other"}, "a model beside its own"),
        # Olive takes the inner one, and what is checked is the outer one
        ({"config": {"model_path": "other"}}, "says model_path twice"),
    ],
)
def test_the_model_is_the_one_that_is_checked(model: dict[str, Any], complaint: str) -> None:
    changed = PLAIN | {"input_model": {"type": "HfModel", "model_path": "m"} | model}
    with pytest.raises(InvalidValue, match=complaint):
        recipe.check(changed, allow_scripts=False)
    recipe.check(changed, allow_scripts=True)
    recipe.check(PLAIN | {"passes": {"b": {"type": "LoRA", "adapter_path": None}}}, allow_scripts=False)


def test_what_runs_no_code_passes() -> None:
    harmless = {
        "input_model": {"type": "hfModel", "model_path": "m", "load_kwargs": {"trust_remote_code": False}},
        "systems": {
            "s": {"type": "LocalSystem", "accelerators": [{"execution_providers": ["CPUExecutionProvider"]}]},
            "t": {"type": "LocalSystem", "accelerators": [{"execution_providers": None}]},
        },
        "target": "s",
        "data_configs": [{"name": "d", "user_script": None}],
    }
    recipe.check(PLAIN | harmless, allow_scripts=False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "no input_model"),
        ('{"input_model": {}}', "names no passes"),
        ('{"input_model": {}, "passes": {"a": 1}}', "a pass is no object"),
    ],
)
def test_what_is_no_recipe(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(InvalidValue, match=complaint):
        recipe.read(path)
    with pytest.raises(InvalidValue, match="cannot be read"):
        recipe.read(tmp_path / "absent.json")


@pytest.mark.parametrize("nested", [{"model_path": "m"}, {"config": {"model_path": "m"}}])
@pytest.mark.parametrize("engine", [{"output_dir": "/elsewhere", "log_to_file": True}, {}])
def test_everything_is_written_below_one_folder(nested: Any, engine: dict[str, Any], tmp_path: Path) -> None:
    given = {**PLAIN, "input_model": {"type": "HfModel", **nested}, "cache_dir": "/elsewhere"}
    if engine:
        given["engine"] = engine
    assert recipe.model_path(given) == "m"
    changed = recipe.prepared(given, Path("/model"), tmp_path)
    assert recipe.model_path(changed) == "/model"
    assert "/elsewhere" not in json.dumps(changed)
    assert (changed["engine"] if engine else changed)["output_dir"] == str(tmp_path / "output")


def test_the_recipe_of_a_conversion() -> None:
    wish = Wish("onnx", "int4", "cuda", None, {"--block-size": "64", "--algorithm": "rtn"}, prune_lm_head=True)
    made = recipe.corresponding("owner/model", "huggingface", wish)
    assert made["passes"]["builder"] == {
        "type": "ModelBuilder",
        "precision": "int4",
        "int4_block_size": 64,
        "int4_algo_config": "rtn",
        "extra_options": {"prune_lm_head": True},
    }
    assert made["systems"]["local_system"]["accelerators"][0]["execution_providers"] == ["CUDAExecutionProvider"]
    assert (recipe.precision(made), recipe.passes(made)) == ("int4", ["ModelBuilder"])
    recipe.check(made, allow_scripts=False)
    for kind, other in (("gguf", Wish("onnx")), ("huggingface", Wish("gguf"))):
        with pytest.raises(InvalidValue, match="and no other conversion"):
            recipe.corresponding("m", kind, other)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="no device 'npu'"):
        recipe.corresponding("m", "huggingface", Wish("onnx", device="npu"))


def test_chains() -> None:
    weighed = Wish("gguf", "q4_k_m", imatrix="auto")
    last = Stage("gguf-to-gguf", ("--precision", "q4_k_m", "--imatrix", "auto"))
    assert stages("gguf", weighed) == [last]
    assert stages("huggingface", weighed) == [Stage("hf-to-gguf", ("--precision", "auto")), last]
    assert stages("huggingface", Wish("gguf", "bf16")) == [Stage("hf-to-gguf", ("--precision", "bf16"))]
    assert stages("gguf", Wish("onnx")) == [Stage("gguf-to-onnx", ("--precision", "exact"))]
    onnx = Stage("hf-to-onnx", ("--precision", "int4", "--device", "dml", "--block-size", "64", "--prune-lm-head"))
    wish = Wish("onnx", "int4", "dml", None, {"--block-size": "64"}, prune_lm_head=True)
    assert stages("huggingface", wish) == [onnx]
    merge = Stage("merge", inputs=("/lora",))
    assert merged(Path("/lora"), wish) == [merge, onnx]
    assert merged(Path("/lora"), Wish("hf")) == [merge]


@pytest.mark.parametrize(
    ("kind", "wish", "complaint"),
    [
        ("gguf", Wish("tar"), "no way to 'tar'"),
        ("huggingface", Wish("hf"), "already"),
        ("gguf", Wish("onnx", device="cuda"), "--device cuda"),
        ("gguf", Wish("onnx", imatrix="auto"), "--imatrix"),
        ("gguf", Wish("onnx", builder={"--block-size": "32"}), "--block-size"),
        ("gguf", Wish("onnx", prune_lm_head=True), "--prune-lm-head"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(kind: Any, wish: Wish, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        stages(kind, wish)


@pytest.mark.parametrize(("kind", "found"), [("HfModel", True), ("hfmodel", True), ("ONNXModel", False), (None, True)])
def test_which_models_transformers_reads(kind: str | None, found: bool) -> None:
    assert recipe.is_checkpoint(PLAIN | {"input_model": {"type": kind}}) is found
