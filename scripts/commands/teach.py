"""`python -m scripts teach`."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..reporting import reporting

EXAMPLE = "python -m scripts teach prompts.jsonl answers.jsonl --teacher http://127.0.0.1:5272/v1#smollm2"


def command(
    prompts: Annotated[Path, typer.Argument(metavar="PROMPTS.jsonl", dir_okay=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", dir_okay=False)],
    teacher: Annotated[list[str], typer.Option(metavar="URL#MODEL", help="Repeat it for a vote.")],
    samples: Annotated[int, typer.Option(min=1, help="Answers of each teacher to each prompt.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1)] = 256,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 4,
    agreement: Annotated[float, typer.Option(min=0, max=1, help="Share of samples that have to agree.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Let a teacher answer prompts, and keep what passes. Killed, it goes on where it was."""
    with reporting(as_json=as_json) as reporter:
        from ..teaching.order import Order
        from ..teaching.teach import teach

        order = Order(
            prompts=prompts, teachers=tuple(teacher), samples=samples, temperature=temperature,
            max_tokens=max_tokens, concurrency=concurrency, agreement=agreement,
        )  # fmt: skip
        report = teach(order, out, reporter)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    typer.echo(f"{report.accepted} of {report.prompts} prompts answered; {report.requests} requests now.")
    typer.echo(f"{report.completion_tokens} tokens in {report.seconds:.1f} s. Rejected: {report.rejected or 'none'}.")
