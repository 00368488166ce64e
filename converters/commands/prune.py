"""`python -m converters prune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.errors import CupolaError, InvalidValue
from server.models.conversion import Line

from ..reporting import Reporter, reporting
from .parameters import AsJson, Target

if TYPE_CHECKING:
    from ..pruning.prune import Outcome

EXAMPLE = "python -m converters prune ./SmolLM2-135M ./SmolLM2-20 --blocks 20 --importance angular"


def command(
    source: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder with safetensors.", file_okay=False)],
    target: Target,
    blocks: Annotated[int | None, typer.Option(help="How many blocks to keep.")] = None,
    drop: Annotated[str, typer.Option(help="Which blocks to leave out instead: 10,12 or 10-14.")] = "",
    importance: Annotated[str, typer.Option(help="How blocks are judged: angular or perplexity.")] = "angular",
    grouping: Annotated[str, typer.Option(help="contiguous: one run of blocks goes; single: any.")] = "contiguous",
    width: Annotated[float | None, typer.Option(help="Share of the MLPs' channels to keep: 0.75.")] = None,
    sparsity: Annotated[str | None, typer.Option(help="2:4: two of every four weights become zero.")] = None,
    text: Annotated[Path | None, typer.Option(help="A text to decide on; default: the bundled one.")] = None,
    tokens: Annotated[int, typer.Option(min=64, help="Tokens of the text to use, at most.")] = 1024,
    as_json: AsJson = False,
) -> None:
    """Leave blocks, MLP channels or weights out of a checkpoint, to be trained again. Needs the extra `convert`."""
    with reporting(as_json=as_json) as reporter:
        try:
            from ..pruning.prune import Plan, prune
            from ..pruning.text import read_text
        except ModuleNotFoundError as error:
            raise CupolaError(
                f"Pruning needs {error.name}. Install torch and transformers with: pip install 'cupola[convert]'"
            ) from None
        from ..quality import prose

        plan = Plan(blocks, numbers(drop), importance, grouping, width, sparsity, tokens)
        given, name = (read_text(text), text.name) if text else (prose(), "prose.txt")
        made = prune(source, target, plan, given, name, reporter.step)
    _say(reporter, made, as_json=as_json)


def numbers(text: str) -> tuple[int, ...]:
    """Block numbers of `3,5-7`. Raises InvalidValue."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise InvalidValue(f"'{part}' names no blocks; write 10,12 or 10-14.") from None
    return tuple(found)


def _say(reporter: Reporter, made: "Outcome", *, as_json: bool) -> None:
    notes = tuple(_summary(made))
    if as_json:
        reporter.line(Line(fraction=1.0, done=True, rounded=made.zeroed, tensors=made.zeroed, notes=notes))
        return
    if made.scores:
        typer.echo(f"Blocks    importance of the {made.span} from here on" if made.span > 1 else "Block     importance")
        for first, score in enumerate(made.scores):
            label = f"{first}-{first + made.span - 1}" if made.span > 1 else str(first)
            gone = first == made.dropped[0] if made.span > 1 else first in made.dropped
            typer.echo(f"{label:<9} {score:.4f}{'  left out' if gone else ''}")
    for note in notes:
        typer.echo(note)


def _summary(made: "Outcome") -> list[str]:
    before, after = made.parameters
    lines = [f"{made.folder}: {made.blocks} blocks, {made.channels} MLP channels, {after:,} of {before:,} parameters."]
    if made.dropped:
        lines.append(f"Left out: blocks {', '.join(map(str, made.dropped))}.")
    if made.zeroed:
        lines.append(f"Half of the weights of {made.zeroed} matrices are zero.")
    lines.append(
        f"Perplexity {made.perplexity[0]:.2f} before, {made.perplexity[1]:.2f} after,"
        f" on {made.evaluated} tokens that decided nothing. Train it again before you use it."
    )
    return lines
