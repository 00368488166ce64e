"""`cupola bench`: how fast a model is here, and with `--load` how a server holds under many streams."""

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from .. import service
from ..errors import InvalidValue, ModelNotPulled, Unavailable
from ..hardware.cpu import usable_cores
from ..models.choice import Chooser
from ..models.select import Choice
from ..models.spec import ModelSpec
from ..models.store import Store
from ..runners.base import Placement
from ..settings import Settings, load_settings
from ..tune import load_test
from ..tune.bench import Result, Trial, context_for, measured
from ..worker.messages import Load
from .arguments import AsJson, Name
from .choosing import open_chooser
from .progress import megabytes
from .tables import aligned, markdown

EPILOG = (
    "Examples: cupola bench smollm2 · cupola bench smollm2 --variant llama --variant onnx --threads 1,2 --markdown ·"
    " cupola bench smollm2 --load --concurrency 1,8 --requests 64 ·"
    " cupola bench smollm2 --load --url http://127.0.0.1:8080 --json"
)
HEADS = ("MODEL", "SIZE", "ENGINE", "DEVICE", "THREADS", "TEST", "TOKENS/S")
LOAD_HEADS = (
    "STREAMS", "REQUESTS", "ERRORS", "REQ/S", "TOKENS/S",
    *(f"{what} {p}" for what in ("TTFT", "ITL", "E2E") for p in ("p50", "p90", "p99")),
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog=EPILOG)(bench)


def bench(
    name: Name = "smollm2",
    variant: Annotated[
        list[str] | None, typer.Option(help="Variant or engine, may be repeated; default: what serves here.")
    ] = None,
    threads: Annotated[str | None, typer.Option(metavar="N,N", help="Threads, each measured in turn.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="N,N", help="Tokens of prompts. [default: 512]")] = None,
    generate: Annotated[str | None, typer.Option(metavar="N,N", help="Tokens to write. [default: 128]")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Times that each test counts.")] = 5,
    load: Annotated[bool, typer.Option("--load", help="Test a server under load instead.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Server to load; default: the one that runs, else one of our own.")
    ] = None,
    concurrency: Annotated[str, typer.Option(metavar="N,N", help="Streams at a time, each tested in turn.")] = "8",
    requests: Annotated[int, typer.Option(min=1, help="Requests of each load test.")] = 64,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a model reads and writes here, or how a server holds under load.

    pp512 is a prompt of 512 tokens, tg128 are 128 tokens written: tokens a second, mean ± deviation. With --load: times
    to the first token (TTFT), between tokens (ITL) and of whole requests (E2E), in milliseconds.
    """
    settings = load_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a server of our own ends too
    if load:
        wish = _LoadWish(numbers(concurrency), requests, one(prompt, 128), one(generate, 128))
        reports = _under_load(settings, name, url, wish)
        rows, heads, said = [_load_row(report) for report in reports], LOAD_HEADS, [_loaded(one) for one in reports]
    else:
        trials = [Trial("prompt", n) for n in numbers(prompt or "512")]
        trials += [Trial("generate", n) for n in numbers(generate or "128")]
        found = list(_measured(settings, name, variant or [""], numbers(threads or "0"), trials, repeat))
        rows, heads, said = [line.row() for line in found], HEADS, [line.described() for line in found]
    if as_json:
        typer.echo(json.dumps({"results": said}, indent=2))
    else:
        typer.echo("\n".join(markdown(heads, rows) if as_markdown else aligned(heads, rows)))
    if load and any(report["errors"] for report in said):
        raise typer.Exit(1)


def numbers(text: str) -> list[int]:
    """'1,2' as numbers. Raises InvalidValue."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise InvalidValue(f"'{text}' is no list of numbers; write it like 1,2,4.")
    return [int(part) for part in parts]


def one(text: str | None, otherwise: int) -> int:
    """A single number."""
    found = numbers(text) if text is not None else [otherwise]
    if len(found) != 1:
        raise InvalidValue(f"A load test takes one number, and '{text}' has {len(found)}.")
    return found[0]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    spec: ModelSpec
    choice: Choice
    threads: int
    result: Result

    def row(self) -> tuple[str, ...]:
        manifest = self.choice.candidate.manifest
        size = megabytes(manifest.size) if manifest else "?"
        speed = f"{self.result.mean:.2f} ± {self.result.deviation:.2f}"
        engine, device = self.choice.variant.backend, self.choice.device or "cpu"
        return (self.name, size, engine, device, str(self.threads), self.result.trial.name, speed)

    def described(self) -> dict[str, Any]:
        manifest = self.choice.candidate.manifest
        return {
            "model": self.name,
            "size": manifest.size if manifest else None,
            "engine": self.choice.variant.backend,
            "device": self.choice.device,
            "threads": self.threads,
            "test": self.result.trial.name,
            "tokens_per_second": self.result.mean,
            "deviation": self.result.deviation,
            "samples": list(self.result.speeds),
        }

    @property
    def name(self) -> str:
        return self.spec.variant_id(self.choice.variant)


def _measured(
    settings: Settings, name: str, variants: list[str], threads: list[int], trials: list[Trial], repeat: int
) -> Iterator[Line]:
    if min(trial.tokens for trial in trials) < 1:
        raise InvalidValue("A test of no tokens measures nothing.")
    chooser = open_chooser(settings)
    for variant in variants:
        spec, choice = _chosen(chooser, f"{name}@{variant}" if variant else name)
        for count in threads:
            load = _load(settings, choice, count, context_for(trials))
            key = f"{spec.variant_id(choice.variant)} on {choice.variant.backend}"
            results = asyncio.run(measured(load, key, trials, repeat, _telling(key)))
            if sys.stderr.isatty():
                typer.echo("\r\x1b[K", err=True, nl=False)  # the table begins where that line stood
            yield from (Line(spec, choice, load.placement.threads, result) for result in results)


def _chosen(chooser: Chooser, name: str) -> tuple[ModelSpec, Choice]:
    """What would serve. Raises ModelNotFound, ModelNotPulled, LoadFailed."""
    spec, choices = chooser.serving(name)
    if choices[0].candidate.manifest is None:
        raise ModelNotPulled(f"Model '{name}' is not here; get it with: cupola pull {name}")
    return spec, choices[0]


def _load(settings: Settings, choice: Choice, threads: int, context: int) -> Load:
    """As the pool would load it, for one sequence."""
    manifest, found = choice.candidate.manifest, choice.measurement
    path = Store(settings.home).path(manifest) if manifest and manifest.files else None
    placement = Placement(
        threads=threads or settings.threads or (found.threads if found else usable_cores()),
        slots=1,
        spin=found.spin if found else True,
        context=context,
        device=choice.device or "cpu",
    )
    return Load(choice.variant.backend, str(path) if path else None, placement, settings.prefill_ms / 1000)


def _telling(name: str) -> Any:
    def tell(trial: Trial, number: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r\x1b[K{name}: {trial.name}, {number or 'warming up'}", err=True, nl=False)

    return tell


@dataclass(frozen=True, slots=True)
class _LoadWish:
    concurrency: list[int]
    requests: int
    prompt: int
    generate: int


def _under_load(settings: Settings, name: str, url: str | None, wish: _LoadWish) -> list[load_test.Report]:
    if min(wish.concurrency) < 1:
        raise InvalidValue("At least one stream has to be asked for at a time.")
    key = settings.api_key.get_secret_value() if settings.api_key else None
    # No prompt of this run, nor of an earlier one: a prompt that is in the cache costs next to nothing.
    reports, first = [], secrets.randbelow(10**9)
    with _server(settings, name, url) as address:
        warm_up = load_test.Order(address, name, 1, 1, wish.prompt, 2, key, first)
        warm = asyncio.run(load_test.run(warm_up, lambda _: None))  # the model may have to be loaded
        if warm.errors.keys() & {"ConnectError", "ConnectTimeout"}:
            raise Unavailable(f"No server answers on {address}.")
        for place, count in enumerate(wish.concurrency):
            start = first + 1 + place * wish.requests
            order = load_test.Order(address, name, count, wish.requests, wish.prompt, wish.generate, key, start)
            reports.append(asyncio.run(load_test.run(order, _counting(wish.requests))))
    return reports


@contextmanager
def _server(settings: Settings, name: str, url: str | None) -> Iterator[str]:
    """The address of the server that is meant; one of our own where none runs."""
    running = service.addressed(settings)
    if url is not None or (running.port and service.answers(running.url)):
        yield url or running.url
        return
    with service.temporary(settings, (name,)) as own:
        yield own.url


def _counting(total: int) -> Any:
    def tell(ended: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r\x1b[K{ended} of {total} requests", err=True, nl=ended == total)

    return tell


def _loaded(report: load_test.Report) -> dict[str, Any]:
    speeds = {"tokens_per_second": report.tokens_per_second, "requests_per_second": report.requests_per_second}
    return asdict(report) | speeds


def _load_row(report: load_test.Report) -> tuple[str, ...]:
    errors = ", ".join(f"{count} x {what}" for what, count in report.errors.items()) or "0"
    times = [
        f"{found[p] * 1000:.1f}" if found else "-"
        for found in (report.first_token, report.inter_token, report.end_to_end)
        for p in ("p50", "p90", "p99")
    ]
    speeds = f"{report.requests_per_second:.2f}", f"{report.tokens_per_second:.1f}"
    return (str(report.concurrency), str(report.requests), errors, *speeds, *times)
