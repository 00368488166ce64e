"""A model's folder is data: what a configuration may say, and everything else by name."""

import ast
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidValue
from server.models.genai_config import BACKENDS, HARMLESS, read

Config = dict[str, Any]


def builder_config(*providers: Config, **session: Any) -> Config:
    """What the model builder writes for a decoder (onnxruntime_genai/models/builders/base.py, make_genai_config)."""
    return {
        "model": {
            "bos_token_id": 1,
            "context_length": 4096,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": list(providers), **session},
                "filename": "model.onnx",
                "head_size": 64,
                "hidden_size": 576,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": "position_ids",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": 9,
                "num_hidden_layers": 30,
                "num_key_value_heads": 3,
            },
            "eos_token_id": [2, 0],
            "pad_token_id": 2,
            "type": "llama",
            "vocab_size": 49152,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": False,
            "early_stopping": True,
            "length_penalty": 1.0,
            "max_length": 4096,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": True,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        },
    }


def npu_config() -> Config:
    """A package for a Qualcomm NPU: a pipeline whose middle stages run there, over a KV buffer that slides."""
    npu = {"qnn": {"backend_path": "QnnHtp.dll", "htp_performance_mode": "burst", "soc_model": "60", "vtcm_mb": "8"}}
    session = {"log_id": "onnxruntime-genai", "provider_options": [npu], "intra_op_num_threads": 2}
    prompt = {
        "filename": "context.onnx",
        "session_options": session,
        "inputs": ["input_hidden_states", "past_keys_0"],
        "outputs": ["/model/layers.0/Add/output_0", "present_keys_0"],
        "run_on_prompt": True,
        "run_on_token_gen": False,
    }
    config = builder_config()
    decoder = config["model"]["decoder"]
    del decoder["filename"]
    decoder["sliding_window"] = {"window_size": 64, "pad_value": 0, "alignment": "left", "slide_key_value_cache": True}
    decoder["pipeline"] = [
        {"embeddings": {"filename": "model.onnx", "inputs": ["input_ids"], "outputs": ["hidden"]}},
        {"prompt-processor": {**prompt, "output_names_forwarder": {"/model/layers.0/Add/output_0": "hidden"}}},
        {"lm-head": {"filename": "head.onnx", "inputs": ["hidden"], "outputs": ["logits"], "is_lm_head": True}},
    ]
    return config


FOLDERS: dict[str, tuple[Config, str]] = {
    "cpu": (builder_config(), "decoder"),
    "cuda": (builder_config({"cuda": {"enable_cuda_graph": "0"}}), "decoder"),
    "cuda, prepacked": (
        builder_config(
            {"cuda": {"enable_cuda_graph": "1", "device_id": "0"}},
            **{
                "ep.cuda.fpa_intb_gemm": "1",
                "optimization.disable_specified_optimizers": "MatMulNBitsFusion",
                "session.use_device_allocator_for_initializers": "1",
            },
        ),
        "decoder",
    ),
    "directml": (builder_config({"dml": {"enable_graph_capture": "1"}}), "decoder"),
    "webgpu": (builder_config({"webgpu": {"enableGraphCapture": "0", "validationMode": "basic"}}), "decoder"),
    "tensorrt": (builder_config({"NvTensorRtRtx": {"enable_cuda_graph": "1"}}), "decoder"),
    "openvino": (builder_config({"OpenVINO": {"device_type": "AUTO:NPU,CPU", "num_streams": "1"}}), "decoder"),
    "qnn": (npu_config(), "pipeline"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    for name in ("model.onnx", "context.onnx", "head.onnx"):
        (made / name).write_bytes(b"graph")
    return made


def written(folder: Path, config: Config | str) -> Path:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "genai_config.json").write_text(text, encoding="utf-8")
    return folder


def with_value(place: str, value: Any) -> Config:
    """A sound configuration with one value changed or added; `place` is the path to it."""
    config = builder_config({"cuda": {"enable_cuda_graph": "0"}})
    keys = place.split(">")
    inner: Any = config
    for key in keys[:-1]:
        inner = inner[int(key) if key.isdigit() else key]
    inner[keys[-1]] = value
    return config


@pytest.mark.parametrize("name", FOLDERS)
def test_what_the_builder_writes_is_accepted(name: str, folder: Path) -> None:
    config, kind = FOLDERS[name]
    found = read(written(folder, config))
    assert found.kind() == kind
    assert found.model.eos_ids == [2, 0]
    assert found.model.decoder.inputs.past_key_names % 3 == "past_key_values.3.key"
    assert found.search.past_present_share_buffer


def builder_keys() -> Iterator[str]:
    """Every key that the installed builder's own code may write."""
    spec = find_spec("onnxruntime_genai")
    assert spec
    assert spec.submodule_search_locations
    tree = ast.parse((Path(spec.submodule_search_locations[0]) / "models/builders/base.py").read_text())
    functions = {"make_genai_config", "make_decoder_state_groups", "make_paged_key_value_state_group"}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name not in functions:
            continue
        for node in ast.walk(function):
            keys = node.keys if isinstance(node, ast.Dict) else []
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                keys = [node.slice]
            yield from (str(key.value) for key in keys if isinstance(key, ast.Constant))


@pytest.mark.skipif(find_spec("onnxruntime_genai") is None, reason="needs the builder's source")
def test_the_installed_builder_writes_no_other_keys() -> None:
    keys = set(builder_keys())
    assert len(keys) > 60
    assert keys <= HARMLESS, sorted(keys - HARMLESS)


SESSION = "model>decoder>session_options"
PROVIDER = f"{SESSION}>provider_options>0>cuda"
REFUSED: list[tuple[str, Any]] = [
    (f"{SESSION}>custom_ops_library", "evil.so"),
    (f"{SESSION}>optimized_model_filepath", "/etc/cron.d/evil"),
    (f"{SESSION}>enable_profiling", "profile"),
    (f"{SESSION}>ep.context_file_path", "out.onnx"),
    (f"{SESSION}>ep.context_enable", "1"),
    (f"{SESSION}>session.model_external_initializers_file_folder_path", "/"),
    (f"{SESSION}>log_id", "../../log"),
    (f"{SESSION}>graph_optimization_level", "C:\\evil.dll"),
    (f"{PROVIDER}>ep_context_file_path", "out.onnx"),
    (f"{PROVIDER}>profile_file", "out.txt"),
    (f"{PROVIDER}>profiling_file_path", "out.txt"),
    (f"{PROVIDER}>library_path", "evil.so"),
    (f"{PROVIDER}>cache_dir", "cache"),
    (f"{PROVIDER}>config_file", "config.json"),
    (f"{PROVIDER}>trt_engine_cache_path", "cache"),
    (f"{PROVIDER}>backend_path", "./QnnHtp.dll"),
    (f"{PROVIDER}>backend_path", "evil.so"),
    (f"{PROVIDER}>device_id", "/dev/mem"),
    (f"{PROVIDER}>device_id", "\\\\host\\share"),
    (f"{PROVIDER}>device_id", "evil.dll"),
    (f"{PROVIDER}>device_id", ["0", "../x"]),
    ("model>decoder>filename", "/etc/passwd"),
    ("model>decoder>filename", "../folder/model.onnx"),
    ("model>decoder>filename", "sub/model.onnx"),
    ("model>decoder>filename", "..\\model.onnx"),
    ("model>decoder>filename", "C:model.onnx"),
    ("model>decoder>filename", ".."),
    ("model>decoder>filename", "."),
    ("model>decoder>filename", "missing.onnx"),
    ("model>decoder>filename", "model.onnx\0"),
    ("model>decoder>filename", 7),
    ("model>decoder>filename", ["model.onnx"]),
    ("model>vision", {"filename": "model.onnx", "adapter_filename": "x.onnx_adapter"}),
    ("model>speech", {"config_filename": "../../secret.json"}),
    ("model>decoder>pipeline", [{"stage": {"filename": "../x.onnx"}}]),
    ("model>decoder>pipeline", [{"pipeline": {"custom_ops_library": "x"}}]),
    ("model>decoder>pipeline", [{"stage": {"session_options": {"custom_ops_library": "x"}}}]),
    ("model>decoder>unheard_of", 1),
    ("unheard_of", {}),
    ("search>script", "x"),
]


@pytest.mark.parametrize(("place", "value"), REFUSED, ids=[f"{place}={value}" for place, value in REFUSED])
def test_what_may_load_code_or_write_files_is_refused_by_name(place: str, value: Any, folder: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(written(folder, with_value(place, value)))
    assert ".".join(part for part in place.split(">") if not part.isdigit()) in caught.value.message
    assert "genai_config.json" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_the_parts_of_the_qnn_wheel_may_be_named(name: str, folder: Path) -> None:
    read(written(folder, with_value(f"{PROVIDER}>backend_path", name)))


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder.parent / "outside.onnx").write_bytes(b"graph")
    (folder / "link.onnx").symlink_to("../outside.onnx")
    (folder / "inner.onnx").symlink_to("model.onnx")
    with pytest.raises(InvalidValue, match=r"model\.decoder\.filename"):
        read(written(folder, with_value("model>decoder>filename", "link.onnx")))
    assert read(written(folder, with_value("model>decoder>filename", "inner.onnx"))).kind() == "decoder"


def test_a_key_that_appears_twice_is_refused(folder: Path) -> None:
    """GenAI would see both; a reader that keeps the last one would see a harmless file."""
    text = json.dumps(builder_config()).replace(
        '"filename": "model.onnx"', '"filename": "/etc/passwd", "filename": "model.onnx"'
    )
    with pytest.raises(InvalidValue, match="'filename' appears twice"):
        read(written(folder, text))
    hidden = json.dumps(builder_config()).replace(
        '"session_options": {', '"session_options": {"custom_ops_library": "x"}, "session_options": {'
    )
    with pytest.raises(InvalidValue, match="'session_options' appears twice"):
        read(written(folder, hidden))


def test_a_key_in_disguise_is_read_as_it_is(folder: Path) -> None:
    text = json.dumps(with_value(f"{SESSION}>custom_ops_library", "x")).replace("custom_ops", "custom\\u005fops")
    with pytest.raises(InvalidValue, match="custom_ops_library"):
        read(written(folder, text))


WRONG: dict[str, tuple[Any, str]] = {
    "model>context_length": (0, "context_length"),
    "model>vocab_size": (1 << 40, "vocab_size"),
    "model>eos_token_id": ("2", "eos_token_id"),
    "model>decoder>num_hidden_layers": (-1, "num_hidden_layers"),
    "model>decoder>head_size": (1 << 30, "head_size"),
    "model>decoder>inputs>past_key_names": ("%999999999d", "past_key_names"),
    "model>decoder>inputs>past_value_names": ("%d.%d", "past_value_names"),
    "model>decoder>outputs>present_key_names": ("%s", "present_key_names"),
    "model>decoder>outputs>present_value_names": ("present", "present_value_names"),
    "model>decoder>outputs>logits": ("x" * 1000, "logits"),
    "model>decoder": ([], "decoder"),
    "model": (None, "model"),
}


@pytest.mark.parametrize("place", WRONG)
def test_a_value_that_cannot_be_is_refused_by_name(place: str, folder: Path) -> None:
    value, name = WRONG[place]
    with pytest.raises(InvalidValue, match=name):
        read(written(folder, with_value(place, value)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "genai_config.json"),
        ("[]", "object"),
        ("{", "genai_config.json"),
        ('{"model": NaN}', "NaN"),
        ('{"model": ' * 90_000 + "1" + "}" * 90_000, "nests deeper"),
        ('{"model": ' + '{"model": ' * 30 + "1" + "}" * 31, "nests deeper"),
        ("[" * 100_000 + "]" * 100_000, "nests deeper"),
        (json.dumps(builder_config()) + " " * (1 << 20), "bytes"),
        ('{"model": {"context_length": ' + "9" * 5000 + "}}", "genai_config.json"),
    ],
    ids=["empty", "list", "cut", "no number", "deep", "too deep", "deep lists", "long", "digits"],
)
def test_what_is_no_configuration_is_refused(text: str, reason: str, folder: Path) -> None:
    with pytest.raises(InvalidValue, match=reason):
        read(written(folder, text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_only_utf_8_is_read(encoding: str, folder: Path) -> None:
    text = json.dumps(with_value("model>type", "\u00e9"), ensure_ascii=False)
    (folder / "genai_config.json").write_bytes(text.encode(encoding))
    with pytest.raises(InvalidValue, match=r"genai_config\.json"):
        read(folder)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no ONNX Runtime GenAI folder"):
        read(tmp_path)
