"""`genai_config.json` of an ONNX Runtime GenAI folder, read by us before an engine does.

GenAI obeys its configuration: it loads native libraries that it names, writes files where it says and follows paths
out of the folder. A model's folder must not be code, so every key has to be one that is known to be harmless, every
file a plain name inside the folder, and no option of a session a path. The keys are those that GenAI's own model
builder writes (onnxruntime_genai/models in its wheel), and those of packages for NPUs. See docs/models-yaml.md.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ..errors import InvalidValue

LARGEST = 1 << 20
DEEPEST = 16
FILE_KEYS = frozenset({"filename", "config_filename"})
_SESSION = (
    "session_options provider_options log_id log_severity_level log_verbosity_level intra_op_num_threads"
    " inter_op_num_threads enable_cpu_mem_arena enable_mem_pattern disable_cpu_ep_fallback disable_quant_qdq"
    " enable_quant_qdq_cleanup graph_optimization_level use_env_allocators ep.cuda.fpa_intb_gemm ep.share_ep_contexts"
    " optimization.disable_specified_optimizers session.use_device_allocator_for_initializers"
)
_PROVIDERS = (
    "cpu cuda dml DML rocm qnn QNN openvino OpenVINO vitisai VitisAI webgpu WebGPU NvTensorRtRtx"
    " enable_cuda_graph enable_skip_layer_norm_strict_mode enable_graph_capture enableGraphCapture validationMode"
    " multiRotaryCacheConcatOffset multi_rotary_cache_concat_offset device_id device_type backend_type backend_path"
    " arena_extend_strategy cudnn_conv1d_pad_to_nc1d cudnn_conv_algo_search cudnn_conv_use_max_workspace"
    " do_copy_in_default_stream gpu_mem_limit prefer_nhwc tunable_op_enable tunable_op_max_tuning_duration_ms"
    " tunable_op_tuning_enable use_ep_level_unified_stream use_tf32"
    " soc_model htp_arch htp_performance_mode htp_graph_finalization_optimization_mode vtcm_mb rpc_control_latency"
    " enable_htp_fp16_precision enable_htp_weight_sharing enable_htp_shared_memory_allocator"
    " offload_graph_io_quantization precision num_of_threads num_streams"
)
_MODEL = (
    "type pad_token_id eos_token_id bos_token_id sep_token_id decoder_start_token_id bot_token_id eot_token_id"
    " bor_token_id eor_token_id image_token_id video_token_id vision_start_token_id vocab_size context_length model"
    " search decoder encoder embedding vision speech hidden_size num_attention_heads num_key_value_heads head_size"
    " num_hidden_layers layer_types conv_cache_size inputs outputs filename config_filename pipeline"
    " run_on_prompt run_on_token_gen reset_session_idx is_lm_head output_names_forwarder sliding_window window_size"
    " pad_value alignment slide_key_value_cache slide_inputs layers cache_slack num_chunks chunk_size"
)
_PAGED = (
    "engine dynamic_batching block_size max_batch_size prefix_caching num_blocks gpu_utilization_factor"
    " max_scheduled_tokens speculative max_draft_tokens state_groups kind layer_ids state_update_capacity"
)
_NAMES = (
    "input_ids inputs_embeds attention_mask position_ids past_key_names past_value_names past_names"
    " past_key_scale_names past_value_scale_names past_conv_names past_recurrent_names state_update_capture_count"
    " state_update_active cross_past_key_names cross_past_value_names past_key_values_length past_sequence_length"
    " current_sequence_length total_sequence_length cache_indirection encoder_hidden_states encoder_attention_mask"
    " rnn_states_prev logits_indices block_table block_table_windowed cumulative_sequence_lengths past_sequence_lengths"
    " attention_metadata logits present_key_names present_value_names present_names present_key_scale_names"
    " present_value_scale_names present_conv_names present_recurrent_names state_update_conv_value_names"
    " state_update_recurrent_capsule_names cross_present_key_names cross_present_value_names hidden_states rnn_states"
    " audio_features audio_embeds audio_sizes audio_projection_mode image_features image_sizes pixel_values"
    " output_cross_qk_names attention_mask_lengths"
)
_SEARCH = (
    "do_sample min_length max_length batch_size num_beams num_return_sequences top_k top_p temperature"
    " repetition_penalty early_stopping no_repeat_ngram_size diversity_penalty length_penalty past_present_share_buffer"
    " random_seed blank_penalty"
)
HARMLESS = frozenset(" ".join((_SESSION, _PROVIDERS, _MODEL, _PAGED, _NAMES, _SEARCH)).split())
_FREE_BELOW = frozenset({"pipeline", "output_names_forwarder"})  # keys there are names of stages and of tensors
# Libraries that `backend_path` may name: parts of the QNN wheel, found by the loader where that put them.
BACKENDS = frozenset({"QnnHtp.dll", "QnnCpu.dll", "QnnGpu.dll", "libQnnHtp.so", "libQnnCpu.so", "libQnnGpu.so"})
_SWITCH = re.compile(r"(?:[A-Z]{2,}:)?[\w+,;\- ]*|\d+\.\d+")  # also OpenVINO's "AUTO:NPU,CPU"

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]  # 0: the configuration does not say
Token = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
LayerName = Annotated[str, msgspec.Meta(pattern=r"^[^%]*%d[^%]*$", max_length=256)]  # `%d` is the layer


class Inputs(msgspec.Struct, frozen=True):
    """Names of a decoder's inputs."""

    input_ids: Name = "input_ids"
    attention_mask: Name = "attention_mask"
    position_ids: Name = "position_ids"
    past_key_names: LayerName = "past_key_values.%d.key"
    past_value_names: LayerName = "past_key_values.%d.value"


class Outputs(msgspec.Struct, frozen=True):
    """Names of a decoder's outputs."""

    logits: Name = "logits"
    present_key_names: LayerName = "present.%d.key"
    present_value_names: LayerName = "present.%d.value"


class DecoderConfig(msgspec.Struct, frozen=True):
    """The part of the configuration that describes the decoder."""

    head_size: Size = 0
    num_attention_heads: Size = 0
    num_hidden_layers: Size = 0
    num_key_value_heads: Size = 0
    filename: str = ""
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    sliding_window: dict[str, Any] | None = None
    pipeline: list[Any] | dict[str, Any] | None = None


class ModelConfig(msgspec.Struct, frozen=True):
    """Sizes and token ids of a model."""

    type: Name
    context_length: Count
    vocab_size: Count
    eos_token_id: Token | list[Token]
    decoder: DecoderConfig
    bos_token_id: Token | None = None
    pad_token_id: Token | None = None
    vision: Any = None
    speech: Any = None
    encoder: Any = None

    @property
    def eos_ids(self) -> list[int]:
        return self.eos_token_id if isinstance(self.eos_token_id, list) else [self.eos_token_id]


class Search(msgspec.Struct, frozen=True):
    """How the folder was exported to be searched."""

    past_present_share_buffer: bool = False


class GenaiConfig(msgspec.Struct, frozen=True):
    """A checked configuration."""

    model: ModelConfig
    search: Search = Search()

    def kind(self) -> Literal["decoder", "pipeline"]:
        """Whether one graph makes the whole model."""
        model = self.model
        several = model.decoder.pipeline or model.vision or model.speech or model.encoder
        return "pipeline" if several else "decoder"


def read(folder: Path) -> GenaiConfig:
    """The configuration of a folder. Raises InvalidValue, naming the key, for one that is not safe or not whole."""
    path = folder / "genai_config.json"
    if path.exists() and not path.is_file():
        raise InvalidValue(f"{path} is no file.")  # a pipe has no end, nor has a device
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidValue(f"{folder} is no ONNX Runtime GenAI folder: genai_config.json: {error.strerror}.") from None
    if len(raw) > LARGEST:
        raise InvalidValue(f"{path} has {len(raw)} bytes; a configuration has less than {LARGEST}.")
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_each_key_once, parse_constant=_no_number)
        _refuse_unsafe(content, folder, ())
        return msgspec.convert(content, GenaiConfig)
    except RecursionError:
        raise InvalidValue(f"{path} nests deeper than {DEEPEST} levels.") from None
    except ValueError as error:  # also what msgspec raises
        raise InvalidValue(f"{path}: {error}") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """GenAI reads every occurrence of a key, and Python would show us the last one alone."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {twice[:120]!r} appears twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _refuse_unsafe(value: object, folder: Path, place: tuple[str, ...]) -> None:
    """Walk down. `place` are the keys that lead here."""
    if len(place) > DEEPEST:
        raise InvalidValue(f"genai_config.json nests deeper than {DEEPEST} levels at {_said(place)}.")
    if isinstance(value, list):
        for item in value:
            _refuse_unsafe(item, folder, place)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unsafe_entry(key, item, folder, (*place, key))
    elif isinstance(value, str) and "session_options" in place:
        _check_option(value, place)


def _refuse_unsafe_entry(key: str, value: object, folder: Path, place: tuple[str, ...]) -> None:
    named_freely = _FREE_BELOW.intersection(place[-2:-1]) and not _FREE_BELOW.intersection(place[-3:-2])
    if key not in HARMLESS and not named_freely:
        raise InvalidValue(
            f"genai_config.json sets {_said(place)}, which Cupola does not know to be harmless: such a key may load"
            " code or write files. Remove it if you trust the folder."
        )
    if key in FILE_KEYS:
        _check_file(value, folder, place)
    _refuse_unsafe(value, folder, place)


def _check_option(value: str, place: tuple[str, ...]) -> None:
    """An option of a session is a switch or a number; a path would be loaded or written."""
    harmless = value in BACKENDS if place[-1] == "backend_path" else _SWITCH.fullmatch(value)
    if not harmless:
        raise InvalidValue(f"genai_config.json: {_said(place)} is {value[:120]!r}, which may be a path to a file.")


def _check_file(name: object, folder: Path, place: tuple[str, ...]) -> None:
    """A file has to be a plain name of a regular file in the folder itself."""
    plain = isinstance(name, str) and Path(name).name == name and "\\" not in name and ":" not in name
    file = folder / str(name)
    if not plain or (name and not (file.is_file() and file.resolve().parent == folder.resolve())):
        raise InvalidValue(
            f"genai_config.json: {_said(place)} is {str(name)[:120]!r}, which is no file of this folder."
        )


def _said(place: tuple[str, ...]) -> str:
    return repr(".".join(place)[:120])
