"""`cupola convert`: of what a team has, what the server loads."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidValue
from ..models import conversion
from ..models.adopt import describe
from ..models.chain import Kind, Stage, Wish, kind_of, precision_of, stages
from ..models.lineage import Record, read_record
from ..models.overlay import add_model
from ..models.progress import Report
from ..models.registry import Registry
from ..models.spec import HuggingFaceSource, ModelSpec, Variant
from ..models.store import Store
from ..settings import Settings, load_settings
from .models import refuse_taken
from .progress import megabytes, shown

CHECKPOINT = ("*.safetensors", "*.json")
EXAMPLES = (
    "Examples: cupola convert ./my-model --to gguf --precision q4_k_m --imatrix auto -o mine ·"
    " cupola convert model.gguf --to onnx -o ./model-onnx ·"
    " cupola convert owner/model --to onnx --precision int4 -o theirs"
)


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(convert)


def convert(
    source: Annotated[
        str, typer.Argument(help="A folder with safetensors, a GGUF file, owner/model on the hub, or a model's name.")
    ],
    to: Annotated[str, typer.Option(help="onnx, gguf or hf (safetensors).")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="A new model's name, or a folder (with a slash) to write and no more.")
    ],
    precision: Annotated[
        str | None, typer.Option(help="onnx: int8, int4, fp32 ... of a GGUF also exact; gguf: q8_0, q4_k_m, f16 ...")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, dml or webgpu: what the ONNX model is built for.")] = "cpu",
    imatrix: Annotated[
        str | None, typer.Option(help="Round a GGUF by importance: a file, or 'auto' to compute it.")
    ] = None,
    block_size: Annotated[int | None, typer.Option(help="Weights with a scale of their own, of int4 and int8.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="How int4 is rounded: rtn, k_quant, k_quant_mixed ...")] = None,
    accuracy_level: Annotated[int | None, typer.Option(help="Activations in products: 1 float32 ... 4 int8.")] = None,
    prune_lm_head: Annotated[bool, typer.Option(help="Logits of the last position only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn a model into an artifact that an engine serves, measured and with its history written down.

    With a name the result becomes a model of yours; with a folder it is written there. What is killed leaves nothing
    under the final name.
    """
    given = {"--block-size": block_size, "--algorithm": algorithm, "--accuracy-level": accuracy_level}
    builder = {name: str(value) for name, value in given.items() if value is not None}
    if prune_lm_head:
        builder["--prune-lm-head"] = ""
    folder, made = carry_out(source, output, Wish(to, precision, device, imatrix, builder))
    tell(folder, made, read_record(folder), as_json=as_json)


def carry_out(source: str, output: str, wish: Wish) -> tuple[Path, ModelSpec | None]:
    """Convert, and register what was made where `output` is a name. Raises CupolaError and its kinds."""
    settings = load_settings()
    named = "/" not in output and "\\" not in output
    if named:
        refuse_taken(Registry.load(settings.overlay), output)
    with shown(output) as report:
        origin = find(source, settings, report)
        kind = kind_of(origin)
        plan = stages(kind, wish)
        folder = settings.home / "converted" / output / _label(kind, wish) if named else Path(output).expanduser()
        if folder.exists():
            raise InvalidValue(f"{folder} exists already; remove it or choose another name.")
        run(plan, origin, folder, report)
        return folder, _adopted(output, folder, read_record(folder), settings, report) if named else None


def _label(kind: Kind, wish: Wish) -> str:
    return f"{wish.to}-{precision_of(kind, wish)}"


def find(source: str, settings: Settings, report: Report) -> Path:
    """The file or folder that is meant; a model of the hub is fetched. Raises InvalidValue and SourceError."""
    path = Path(source).expanduser()
    if path.exists():
        return path.resolve()
    store = Store(settings.home)
    if "/" not in source:
        model, variants = Registry.load(settings.overlay).resolve(source)
        for variant in variants:
            manifest = store.manifest(model, variant)
            if manifest is not None and variant.format in {"gguf", "safetensors"}:
                return store.path(manifest)
        raise InvalidValue(f"No GGUF or safetensors of {model.name} is here; pull it first: cupola pull {source}")
    repository = HuggingFaceSource(repo=source, files=CHECKPOINT)
    variant = Variant(name="checkpoint", format="safetensors", quantization="none", source=repository)
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in source.lower()).strip("-._")
    model = ModelSpec(name=name, licence="unknown", context_length=1, variants=(variant,))
    return store.path(store.pull(model, variant, settings, report))


def run(plan: list[Stage], origin: Path, folder: Path, report: Report) -> None:
    """One converter after the other; only the last writes the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=folder.parent) as work:
        for number, stage in enumerate(plan):
            target = folder if stage is plan[-1] else Path(work) / str(number) / origin.stem
            arguments = [stage.converter, str(origin), str(target), *stage.options]
            size = sum(path.stat().st_size for path in ([origin] if origin.is_file() else origin.rglob("*")))
            conversion.run(arguments, f"{origin.name} cannot be converted", stage.converter, size, report)
            files = sorted(target.glob("*.gguf"))
            origin = files[0] if files else target


def _adopted(name: str, folder: Path, record: Record | None, settings: Settings, report: Report) -> ModelSpec:
    """The new entry of the user's models.yaml, with its files in the store."""
    files = sorted(folder.glob("*.gguf"))
    licence = record.licence if record else "unknown"
    model = describe(str(files[0] if files else folder), name, None, None, licence)
    add_model(settings.overlay, model)
    Store(settings.home).pull(model, model.variants[0], settings, report)
    return model


def tell(folder: Path, made: ModelSpec | None, record: Record | None, *, as_json: bool) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if as_json:
        about: dict[str, Any] = {"folder": str(folder), "size": size, "model": made.name if made else None}
        typer.echo(json.dumps(about | {"record": record.model_dump(mode="json") if record else None}, indent=2))
        return
    typer.echo(f"{folder}: {megabytes(size)}" + (f", {_mix(record)}" if record else ""))
    if record and record.quality:
        quality = record.quality
        typer.echo(f"Divergence from the {quality.reference}: {quality.kl_mean:.2g}, same token {quality.top1:.1%}")
    peak = max((step.peak_memory or 0 for step in record.steps), default=0) if record else 0
    if peak:
        typer.echo(f"At most {megabytes(peak)} of memory were used.")
    if made:
        typer.echo(f"Added {made.name}. Next: cupola run {made.name} 'What is the capital of France?'")


def _mix(record: Record) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in record.tensor_types.items())
