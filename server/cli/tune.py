"""`cupola tune`: find the variant and thread setting that are fastest here."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..models.choice import Chooser
from ..models.progress import Progress as Pull
from ..models.tuning import MANY, ONE, SOME, Measurement, Tuning
from ..settings import load_settings
from ..tune.tuner import Tuner
from .arguments import Name
from .choosing import open_chooser
from .progress import megabytes
from .pull import ensure_pulled


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: cupola tune smollm2 · cupola tune smollm2 --max-kl 1 · cupola tune mine --no-create --json"
    )(tune)


def tune(
    name: Name = "smollm2",
    max_kl: Annotated[
        float, typer.Option(min=0, help="Mean divergence from the best source, in nats, up to which one is chosen.")
    ] = 0.02,
    create: Annotated[bool, typer.Option(help="Make candidates: ONNX and Q4_0 artifacts of the download.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure speed and quality of each variant on this device, and use the best one from now on.

    Takes a few minutes. Leave the device alone meanwhile: other work makes a variant look slow.
    """
    settings = load_settings()
    ensure_pulled(settings, name)
    chooser = open_chooser(settings)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Preparing", total=1.0)

        def tell(fraction: float, doing: str) -> None:
            bar.update(task, completed=fraction, description=doing)
            if bar.disable:
                typer.echo(f"{fraction:4.0%} {doing}", err=True)

        def report(pull: Pull) -> None:
            bar.update(task, description=f"{pull.phase.capitalize()} {pull.file}")

        tuning = Tuner(settings, chooser, tell, lambda text: bar.console.print(f"Note: {text}")).tune(
            name, max_kl=max_kl, create=create, report=report
        )
        bar.update(task, completed=1.0, description="Measured")
    if as_json:
        typer.echo(tuning.model_dump_json(indent=2))
    else:
        typer.echo("\n".join([*rows(tuning), "", verdict(chooser, name, tuning)]))


def rows(tuning: Tuning) -> Iterator[str]:
    """The measurements, best first; a star at what is too far from its source."""
    yield f"{tuning.model} on this device, tokens per second"
    yield (
        f"{'VARIANT':<14} {'ENGINE':<6} {'PROMPT':>6} {'1 SEQ':>6} {'4 SEQ':>6} {'8 SEQ':>6} {'KL':>7}  {'TOP-1':>6}"
        f" {'THREADS':>8} {'MEMORY':>9}"
    )
    for one in tuning.measurements:
        speeds = " ".join(f"{one.decode[count]:>6.0f}" for count in (ONE, SOME, MANY))
        agreed = f"{one.quality.top1:.1%}" if one.quality else "?"
        divergence = f"{one.quality.kl_mean:.2g}" if one.quality else "?"
        far = "*" if is_far(one, tuning) else " "
        threads = f"{one.threads}{' spin' if one.spin and one.backend == 'onnx' else ''}"
        yield (
            f"{one.variant:<14} {one.backend:<6} {one.prefill:>6.0f} {speeds} {divergence:>7}{far} {agreed:>6}"
            f" {threads:>8} {megabytes(one.memory):>9}"
        )
    if any(is_far(one, tuning) for one in tuning.measurements):
        yield f"* says too much otherwise than its source: a mean divergence (KL) beyond {tuning.limit:.3g} nats"


def is_far(one: Measurement, tuning: Tuning) -> bool:
    return one.divergence is not None and one.divergence > tuning.limit


def verdict(chooser: Chooser, name: str, tuning: Tuning) -> str:
    """What will be used from now on, against the download."""
    model, choices = chooser.ranking(name)
    chosen = next((choice for choice in choices if choice.usable), None)
    if chosen is None:
        return f"Nothing can be chosen: {choices[0].reason}."
    found = chosen.measurement
    if found is None:
        return f"Chosen: {model.variant_id(chosen.variant)}, not measured: {chosen.reason}."
    text = (
        f"Chosen: {model.variant_id(chosen.variant)} on {found.backend}, {found.threads} threads"
        f"{'' if found.spin else ' that do not spin'}: {found.decode[MANY]:.0f} tokens/s for {MANY} sequences,"
        f" {'quality not measured' if found.divergence is None else f'divergence {found.divergence:.2g}'}"
        f" (at most {tuning.limit:.3g})."
    )
    download = _download(tuning, {variant.name for variant in model.variants if model.origin(variant) is None})
    if download is None or download is found:
        return text
    ratio = found.decode[MANY] / download.decode[MANY]
    return f"{text} That is {ratio:.2f} times {download.variant} as downloaded ({download.decode[MANY]:.0f})."


def _download(tuning: Tuning, pulled: set[str]) -> Measurement | None:
    """The fastest of what was not made here."""
    found = [one for one in tuning.measurements if one.variant in pulled]
    return max(found, key=lambda one: one.decode[MANY], default=None)
