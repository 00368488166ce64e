"""`cupola convert`: of what a team has, what the server loads."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import FileLock, Timeout

from ..errors import InvalidValue
from ..models import recipe
from ..models.adopt import describe, slug
from ..models.ancestry import same_model, served_as
from ..models.chain import Stage, Wish, kind_of, merged, precision_of, stages
from ..models.converting import Plan, run
from ..models.files import storage_errors, write_atomically
from ..models.lineage import Record, read_record
from ..models.origin import find
from ..models.overlay import add_model
from ..models.progress import Report
from ..models.registry import Registry
from ..models.spec import ModelSpec
from ..models.store import Store
from ..settings import Settings, load_settings
from .models import refuse_taken
from .progress import megabytes, shown

EXAMPLES = (
    "Examples: cupola convert ./my-model --to gguf --precision q4_k_m --imatrix auto -o mine ·"
    " cupola convert model.gguf --to onnx -o ./model-onnx · cupola convert owner/model --to onnx --precision int4 -o"
    " theirs · cupola convert --olive recipe.json -o mine"
)
Recipe = Annotated[
    Path | None, typer.Option("--olive", metavar="RECIPE.json", help="Run a workflow of Microsoft Olive instead.")
]
Exported = Annotated[
    Path | None,
    typer.Option("--export-olive", metavar="FILE", help="Write the workflow of Olive, and convert nothing."),
]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog=EXAMPLES)(convert)


def convert(
    source: Annotated[
        str | None, typer.Argument(help="Folder with safetensors or a LoRA, GGUF file, owner/model, or a model's name.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="onnx, gguf or hf (safetensors).")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A new model's name, or a folder (with a slash) to write.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="onnx: int8, int4, exact ...; gguf: q8_0, q4_k_m ...")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, dml or webgpu: what the ONNX model is built for.")] = "cpu",
    imatrix: Annotated[str | None, typer.Option(help="Round a GGUF by importance: a file, or 'auto'.")] = None,
    block_size: Annotated[int | None, typer.Option(help="Weights with a scale of their own, of int4 and int8.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="How int4 is rounded: rtn, k_quant, k_quant_mixed ...")] = None,
    accuracy_level: Annotated[int | None, typer.Option(help="Activations in products: 1 float32 ... 4 int8.")] = None,
    prune_lm_head: Annotated[bool, typer.Option(help="Logits of the last position only.")] = False,
    base: Annotated[str | None, typer.Option(help="What a LoRA is merged into; default: what it names.")] = None,
    olive: Recipe = None,
    allow_scripts: Annotated[bool, typer.Option("--allow-scripts", help="Of the recipe: they are run.")] = False,
    export_olive: Exported = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn a model into an artifact that an engine serves, with its history written down.

    With a name the result becomes a model of yours; with a folder it is written there.
    """
    given = {"--block-size": block_size, "--algorithm": algorithm, "--accuracy-level": accuracy_level}
    builder = {name: str(value) for name, value in given.items() if value is not None}
    wish = Wish(to or "", precision, device, imatrix, builder, prune_lm_head)
    if export_olive is not None:
        _export(source, wish, export_olive)
    else:
        _convert(_Order(source, wish, base, olive, allow_scripts), output, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Order:
    """What was typed."""

    source: str | None
    wish: Wish
    base: str | None
    recipe: Path | None
    allow_scripts: bool

    def plan(self, settings: Settings, report: Report) -> Plan:
        """Finds the source, which may be fetched. Raises InvalidValue and SourceError."""
        if self.recipe is not None:
            return self._by_recipe(self.recipe, settings, report)
        if not self.wish.to or self.source is None:
            raise InvalidValue("Say what to convert and into what: cupola convert SOURCE --to onnx -o NAME")
        origin = find(self.source, settings, report)
        kind = kind_of(origin)
        if kind != "adapter" and self.base is not None:
            raise InvalidValue(f"--base is for adapters, and {self.source} is none.")
        if kind != "adapter":
            return Plan(origin, stages(kind, self.wish), f"{self.wish.to}-{precision_of(kind, self.wish)}")
        chain = merged(origin, self.wish)
        precision = "merged" if self.wish.to == "hf" else precision_of("huggingface", self.wish)
        base = find(self.base or _base_of(origin), settings, report)
        if base.is_file():
            chain = [Stage("gguf-to-hf"), *chain]  # of a model whose weights are here as GGUF only
        return Plan(base, chain, f"{self.wish.to}-{precision}")

    def _by_recipe(self, path: Path, settings: Settings, report: Report) -> Plan:
        if self.wish != Wish("") or self.base:
            raise InvalidValue("The recipe says what is made; leave --to, --precision and their like out.")
        workflow = recipe.read(path)
        recipe.check(workflow, allow_scripts=self.allow_scripts)
        named = self.source or recipe.model_path(workflow)
        if named is None:
            raise InvalidValue(f"{path} names no model; say which one: cupola convert MODEL --olive {path}")
        allowed = ["--allow-scripts"] * self.allow_scripts
        stage = Stage("olive", ("--model", str(find(named, settings, report)), *allowed))
        return Plan(path.resolve(), [stage], f"onnx-{recipe.precision(workflow)}")


def _convert(order: _Order, output: str | None, *, as_json: bool) -> None:
    settings = load_settings()
    if not output:
        raise InvalidValue("Say what to call the result: -o NAME, or -o ./FOLDER to write a folder and no more.")
    named = "/" not in output and "\\" not in output
    if named:
        output = slug(output)
        refuse_taken(Registry.load(settings.overlay), output)
    with shown(output) as report:
        plan = order.plan(settings, report)
        folder = settings.home / "converted" / output / plan.label if named else Path(output).expanduser()
        with _owning(folder, named=named) as work:
            if named:  # no model has this name, so what is there was left by a run that did not come to its end
                shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                raise InvalidValue(f"{folder} exists already; remove it or choose another name.")
            run(plan, folder, work, report)
            record = read_record(folder)
            made = _adopted(output, folder, record, settings, report) if named else None
    tell(folder, made, record, len(plan.stages), as_json=as_json)


def _export(source: str | None, wish: Wish, file: Path) -> None:
    """Write the recipe that corresponds to a command."""
    if source is None:
        raise InvalidValue("Say which model the recipe is for.")
    path = Path(source).expanduser()
    kind = kind_of(path) if path.exists() else "huggingface" if "/" in source else "gguf"
    text = json.dumps(recipe.corresponding(str(path.resolve()) if path.exists() else source, kind, wish), indent=2)
    with storage_errors(file.parent):
        write_atomically(file, f"{text}\n")
    typer.echo(f"{file} is written. Run it with: cupola convert --olive {file} -o NAME")


def _base_of(adapter: Path) -> str:
    """What an adapter names as its base. Raises InvalidValue where it names none."""
    try:
        found = json.loads((adapter / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError, RecursionError, AttributeError):
        found = None
    if not isinstance(found, str) or not found:
        raise InvalidValue(f"{adapter} does not say what it was trained for; name it with --base.")
    return found


@contextmanager
def _owning(folder: Path, *, named: bool) -> Iterator[Path]:
    """A folder for what lies between two converters. What a killed run left in it goes when the next one begins.

    `named`: the folder above is of this model alone, and goes too where nothing was made.
    """
    work = folder.with_name(f".{folder.name}.converting")
    with storage_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{work}.lock", timeout=0)
    try:
        with lock:
            shutil.rmtree(work, ignore_errors=True)
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
                if os.name == "posix":  # elsewhere releasing removes it; here it has to go while it is held
                    Path(lock.lock_file).unlink(missing_ok=True)
                if named:
                    with suppress(OSError):  # it is not empty: something was made
                        folder.parent.rmdir()
    except Timeout:
        raise InvalidValue(f"Another process is converting to {folder}.") from None


def _adopted(name: str, folder: Path, record: Record | None, settings: Settings, report: Report) -> ModelSpec:
    """The new entry of the user's models.yaml, with its files in the store; of a known model it is served as that."""
    files = sorted(folder.glob("*.gguf"))
    licence = record.licence if record else "unknown"
    model = describe(str(files[0] if files else folder), name, None, None, licence)
    store = Store(settings.home)
    model = served_as(model, same_model(record, Registry.load(settings.overlay), store))
    store.pull(model, model.variants[0], settings, report)
    add_model(settings.overlay, model)
    return model


def tell(folder: Path, made: ModelSpec | None, record: Record | None, own: int, *, as_json: bool) -> None:
    """What was made, by the `own` last steps of its record; the others are of its source, a training among them."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if as_json:
        about: dict[str, Any] = {"folder": str(folder), "size": size, "model": made.name if made else None}
        typer.echo(json.dumps(about | {"record": record.model_dump(mode="json") if record else None}, indent=2))
        return
    typer.echo(f"{folder}: {megabytes(size)}" + (f", {_mix(record)}" if record else ""))
    if record and record.quality:
        quality = record.quality
        typer.echo(f"Divergence from the {quality.reference}: {quality.kl_mean:.2g}, same token {quality.top1:.1%}")
    peak = max((step.peak_memory or 0 for step in record.steps[-own:]), default=0) if record else 0
    if peak:
        typer.echo(f"At most {megabytes(peak)} of memory were used.")
    if made and made.system:  # taken over from a known model, which a name may have decided
        typer.echo(f"System message, where a conversation brings none: {made.system}")
    if made:
        typer.echo(f"Added {made.name}. Next: cupola run {made.name} 'What is the capital of France?'")


def _mix(record: Record) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in record.tensor_types.items())
