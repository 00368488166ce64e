"""From a folder to a runner, or a sentence about why not."""

import mmap
from pathlib import Path

from ...errors import InvalidValue, LoadFailed
from ...models.genai_config import GenaiConfig, read
from ...models.lora_graph import GRAPH
from ...models.tokenizer import JsonTokenizer
from ..base import Placement, ReportProgress, Segment, SlotsLost
from .device_rows import DeviceRows
from .layout import Layout
from .logits import Picker, ReadLogits, on_host
from .rows import HostRows, KvRows
from .runner import OnnxRunner
from .session import Session, open_session


def load(
    artifact: Path | None, placement: Placement, report: ReportProgress, *, device_rows: bool | None = None
) -> OnnxRunner:
    """Load a folder. Raises LoadFailed with the reason, also where another engine (genai) can run what this one cannot.

    `device_rows`: keep KV entries and logits in the device's memory. None: if the device has one of its own.
    """
    if artifact is None:
        raise LoadFailed("The onnx engine needs a folder with genai_config.json.")
    try:
        config = read(artifact)
        tokenizer = JsonTokenizer(artifact, frozenset(config.model.eos_ids), config.model.bos_token_id)
    except InvalidValue as error:
        raise LoadFailed(error.message) from None
    report(0.2)
    _refuse(artifact, declines(artifact, config))
    adaptable = placement.adapters and (artifact / GRAPH).is_file()
    session = open_session(artifact / (GRAPH if adaptable else config.model.decoder.filename), placement)
    layout = Layout(session, config)
    _refuse(artifact, layout.mismatch())
    report(0.9)
    on_device = placement.device != "cpu" if device_rows is None else device_rows
    rows, reader = _memory(session, layout, config, placement, on_device=on_device)
    runner = OnnxRunner(session, layout, config, tokenizer, placement, rows, reader)
    _prove(runner, artifact)
    report(1.0)
    return runner


def declines(folder: Path, config: GenaiConfig) -> str:
    """Why this engine cannot run a folder; "" if nothing speaks against it."""
    decoder = config.model.decoder
    if config.kind() == "pipeline":
        return "it is a pipeline of several graphs"
    if decoder.sliding_window is not None:
        return "it keeps its KV entries in a rolling buffer"
    if min(decoder.head_size, decoder.num_hidden_layers, decoder.num_key_value_heads) < 1:
        return "genai_config.json does not say the sizes of its KV entries"
    if not config.search.past_present_share_buffer:
        return "it was not exported for a shared KV buffer (past_present_share_buffer)"
    if not _mentions(folder / decoder.filename, b"GroupQueryAttention"):
        return "its attention is not GroupQueryAttention"
    return ""


def _mentions(graph: Path, operator: bytes) -> bool:
    with graph.open("rb") as file:
        if not graph.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(operator) >= 0


def _refuse(folder: Path, reason: str) -> None:
    if reason:
        raise LoadFailed(f"The onnx engine cannot run {folder.name}: {reason}. The genai engine may.")


def _memory(
    session: Session, layout: Layout, config: GenaiConfig, placement: Placement, *, on_device: bool
) -> tuple[KvRows, ReadLogits]:
    """Where KV entries lie, and how logits are read."""
    decoder = config.model.decoder
    sizes = (decoder.num_hidden_layers, placement.slots, decoder.num_key_value_heads, decoder.head_size)
    cache, logits = layout.types()
    if on_device:
        return DeviceRows(session.device, *sizes, cache), Picker(session.device, logits)
    return HostRows(*sizes, cache), on_host


def _prove(runner: OnnxRunner, folder: Path) -> None:
    """Run a prompt and a step: what the configuration got wrong about the graph shows here."""
    try:
        for start, tokens in ((0, [0, 0]), (2, [0])):
            runner.forward([Segment(0, tokens, start, range(len(tokens) - 1, len(tokens)))])
    except SlotsLost as lost:
        runner.close()
        raise LoadFailed(f"The onnx engine cannot run {folder.name}: {lost}") from None
    runner.truncate(0, 0)
