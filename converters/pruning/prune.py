"""Pruning a checkpoint: what is asked for, done in order (depth, width, sparsity), measured before and after."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from server.errors import InvalidValue
from server.models.lineage import Scalar

from .. import manifest
from ..appearing import appearing
from . import checkpoint, depth, sparsity, width
from .decoder import Decoder
from .text import Windows, cut, perplexity

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to leave out. None: nothing of that kind."""

    blocks: int | None = None  # to keep, chosen by `importance` and `grouping`
    drop: tuple[int, ...] = ()  # instead: these blocks
    importance: str = "angular"
    grouping: str = "contiguous"
    width: float | None = None  # share of the MLPs' channels to keep
    sparsity: str | None = None
    tokens: int = 1024  # of the text, at most


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was left out and what it cost. `scores` belong to groups of `span` blocks, by the first of them."""

    folder: Path
    scores: tuple[float, ...]
    span: int
    dropped: tuple[int, ...]
    blocks: int
    channels: int
    parameters: tuple[int, int]  # before, after; zeros count
    zeroed: int  # matrices
    perplexity: tuple[float, float]  # before, after, on the part of the text that decided nothing
    evaluated: int  # tokens of that part


def prune(
    source: Path, folder: Path, plan: Plan, text: str, text_name: str, report: Report = lambda *_: None
) -> Outcome:
    """Write `folder`, a checkpoint with its record. Raises InvalidValue, StorageFull; nothing is left there then."""
    work = manifest.Work("prune", {}, libraries=("torch", "transformers"))
    _require(plan)
    work.read(source)
    work.datasets[text_name] = sha256(text.encode()).hexdigest()
    with appearing(folder) as partial:
        report(0.0, "reading")
        decoder, tokenizer = checkpoint.read(source)
        windows = cut(tokenizer, text, plan.tokens)
        made = _pruned(decoder, windows, plan, folder, report)
        report(1.0, "writing")
        written = checkpoint.write(decoder, source, partial)
        work.parameters.update(_recorded(plan, made))
        manifest.write(partial, work, tensor_types=written.types(), parameters=made.parameters[1])
    return made


def _pruned(decoder: Decoder, windows: Windows, plan: Plan, folder: Path, report: Report) -> Outcome:
    """The model changed as planned."""
    _require_blocks(plan, len(decoder.blocks))
    before = perplexity(decoder, windows.evaluation), decoder.parameters
    blocks = len(decoder.blocks)
    kept = None
    if plan.width is not None:
        width.require_mlps(decoder)
        kept = width.channels(decoder, plan.width)
    span, scores, dropped = _depth(decoder, windows, plan, report)
    if dropped:
        decoder.keep([block for block in range(blocks) if block not in dropped])
    if kept is not None:
        report(0.0, "activations of the MLPs")
        width.narrow(decoder, windows.calibration, kept)
    zeroed = sparsity.sparsify(decoder) if plan.sparsity else 0
    report(0.0, "perplexity")
    return Outcome(
        folder=folder,
        scores=tuple(scores),
        span=span,
        dropped=tuple(dropped),
        blocks=len(decoder.blocks),
        channels=decoder.config.intermediate_size,
        parameters=(before[1], decoder.parameters),
        zeroed=zeroed,
        perplexity=(before[0], perplexity(decoder, windows.evaluation)),
        evaluated=sum(len(window) for window in windows.evaluation),
    )


def _depth(decoder: Decoder, windows: Windows, plan: Plan, report: Report) -> tuple[int, list[float], list[int]]:
    """The span of a score, the scores, and the blocks that go."""
    blocks = len(decoder.blocks)
    if plan.drop:
        return 1, [], _named(plan.drop, blocks)
    if plan.blocks is None:
        return 1, [], []
    count = blocks - plan.blocks
    span = count if plan.grouping == "contiguous" else 1
    scores = depth.measure(decoder, windows.calibration, plan.importance, span, report)
    return span, scores, depth.choose(scores, blocks, count, plan.grouping)


def _named(drop: tuple[int, ...], blocks: int) -> list[int]:
    named = sorted(set(drop))
    if named[0] < 0 or named[-1] >= blocks or len(named) == blocks:
        raise InvalidValue(f"The model has blocks 0 to {blocks - 1}; name some of them, and not all.")
    return named


def _require_blocks(plan: Plan, blocks: int) -> None:
    """Raises InvalidValue for blocks that are not there, before the model reads anything."""
    if plan.drop:
        _named(plan.drop, blocks)
    if plan.blocks is not None and not 0 < plan.blocks < blocks:
        raise InvalidValue(f"The model has {blocks} blocks; keep from 1 to {blocks - 1} of them, not {plan.blocks}.")


def _require(plan: Plan) -> None:
    """Raises InvalidValue for a plan that leaves nothing out or contradicts itself."""
    if plan.blocks is not None and plan.drop:
        raise InvalidValue("Give either how many blocks to keep (--blocks) or which to drop (--drop), not both.")
    if plan.blocks is None and not plan.drop and plan.width is None and plan.sparsity is None:
        raise InvalidValue("Nothing to leave out: give --blocks or --drop, --width, or --sparsity 2:4.")
    if plan.sparsity not in (None, sparsity.PATTERN):
        raise InvalidValue(f"There is no sparsity {plan.sparsity!r}. Known: {sparsity.PATTERN}.")


def _recorded(plan: Plan, made: Outcome) -> dict[str, Scalar]:
    """The plan and what came of it, as parameters of a step."""
    asked = {name: value for name, value in asdict(plan).items() if value is not None and name != "drop"}
    if not made.scores:
        asked = {name: value for name, value in asked.items() if name not in ("importance", "grouping")}
    found: dict[str, Scalar] = {
        "dropped": ",".join(map(str, made.dropped)),
        "blocks": made.blocks,
        "channels": made.channels,
        "perplexity_before": round(made.perplexity[0], 4),
        "perplexity_after": round(made.perplexity[1], 4),
    }
    if made.scores:
        found |= {"span": made.span, "scores": " ".join(f"{score:.4f}" for score in made.scores)}
    return asked | found
