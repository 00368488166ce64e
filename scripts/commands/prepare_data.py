"""`python -m scripts prepare-data`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.errors import InvalidValue

from ..reporting import reporting

if TYPE_CHECKING:
    from ..data.card import Card
    from ..data.order import Shares

EXAMPLE = (
    "python -m scripts prepare-data tickets.csv ./data --input text --output team --label team --tokenizer smollm2"
)
OFF = "off"


def command(
    given: typer.Context,
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="JSONL, JSON, CSV, TSV or Parquet.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    validation: Annotated[Path | None, typer.Option(help="A validation split that is there already.")] = None,
    test: Annotated[Path | None, typer.Option(help="A test split that is there already.")] = None,
    asked: Annotated[str | None, typer.Option("--input", metavar="FIELD", help="The field with the question.")] = None,
    answered: Annotated[str | None, typer.Option("--output", metavar="FIELD", help="The one with the answer.")] = None,
    template: Annotated[str | None, typer.Option(help="The question: 'Translate: {sentence}'.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message for examples that have none.")] = None,
    label: Annotated[str | None, typer.Option(metavar="FIELD", help="The class; splits keep classes even.")] = None,
    group: Annotated[str | None, typer.Option(metavar="FIELD", help="Its values are not divided by splits.")] = None,
    near: Annotated[str, typer.Option(help="Similarity of near-duplicates, 0 to 1, or off.")] = "0.85",
    tokenizer: Annotated[str | None, typer.Option(metavar="CHECKPOINT", help="Counts lengths in its tokens.")] = None,
    context: Annotated[int | None, typer.Option(min=8, help="Tokens at most; default: the checkpoint's.")] = None,
    most_bad: Annotated[float, typer.Option(min=0, max=1, help="Share of bad lines that is allowed.")] = 0.1,
    redact: Annotated[bool, typer.Option("--redact", help="Replace personal data: [EMAIL].")] = False,
    shares: Annotated[str, typer.Option(help="Of train, validation and test.")] = "80/10/10",
    paraphrase: Annotated[str | None, typer.Option(metavar="URL", help="A server that rewrites questions.")] = None,
    paraphrase_model: Annotated[str | None, typer.Option(help="The model that rewrites.")] = None,
    paraphrases: Annotated[int, typer.Option(min=1, help="Of each training example.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=(1 << 32) - 1, help="Another seed divides otherwise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Make a data folder of files: checked, without duplicates, divided into splits that share nothing, with a card."""
    with reporting(as_json=as_json) as reporter:
        from ..data.order import Order
        from ..data.prepare import prepare
        from ..recipe import checked

        told = given.params | {"input": asked, "output": answered, "near": _near(near), "shares": _shares(shares)}
        told |= {"paraphrase": _paraphrase(paraphrase, paraphrase_model, paraphrases)}
        fields = {name: value for name, value in told.items() if name in Order.model_fields}
        order = checked(Order, fields, Path("The options"))
        card = prepare(order, folder, reporter)
    if as_json:
        typer.echo(card.model_dump_json())
    else:
        _show(card, folder)


def _near(text: str) -> float | None:
    if text == OFF:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidValue(f"--near {text} is no number; write 0.85, or {OFF}.") from None


def _shares(text: str) -> "Shares":
    from pydantic import ValidationError

    from ..data.order import Shares

    try:
        train, validation, test = (float(part) for part in text.split("/"))
        return Shares(train=train, validation=validation, test=test)
    except (ValueError, ValidationError):
        raise InvalidValue(f"--shares {text} is not of the form 80/10/10, with a train of more than 0.") from None


def _paraphrase(url: str | None, model: str | None, count: int) -> dict[str, object] | None:
    if (url is None) != (model is None):
        raise InvalidValue("--paraphrase URL and --paraphrase-model NAME belong together.")
    return None if url is None else {"url": url, "model": model, "count": count}


def _show(card: "Card", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..data.page import notes

    console = Console()
    table = Table("SPLIT", "EXAMPLES", "SHA-256", box=None)
    for split, count in card.examples.items():
        table.add_row(split, f"{count:,}", card.digests[split][:12])
    console.print(table)
    bad = ", ".join(f"{kind} {count:,}" for kind, count in card.rejected.items())
    typer.echo(f"{card.lines:,} lines. Rejected: {bad or 'none'}{' (rejected.jsonl)' if bad else ''}.")
    for note in notes(card):
        typer.echo(note)
    found = ", ".join(f"{kind} {count:,}" for kind, count in card.personal.found.items())
    if found:
        typer.echo(f"Found: {found}.")
    typer.echo(f"The card: {folder / 'card.html'}")
