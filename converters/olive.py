"""A workflow of Microsoft Olive, run, and the model that comes out of it as an artifact.

    python -m converters olive RECIPE TARGET [--model FOLDER]

Olive 0.13 was written for an older model builder than GenAI has now. Where its pass ModelBuilder does not fit, the two
are brought together here; what it asks of the builder stays as it is.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.errors import ConversionFailed, CupolaError, InvalidValue
from server.models import genai_config, recipe

from . import manifest, tensor_types
from .appearing import appearing, require_growth
from .builder_memory import spilling
from .checkpoint import check_weights, checked_config
from .hf_to_onnx import FAILURES, MOST_WORDS, Outcome, model_builder, quiet

LIBRARIES = ("olive-ai", "onnxruntime-genai", "onnxruntime", "torch", "transformers")
# What Olive writes about its work beside the model.
_NOTES = {"footprint.json", "input_model_metrics.json", "model_config.json", "output_footprint.json", "run_history.txt"}


def convert(path: Path, folder: Path, model: Path | None = None, *, allow_scripts: bool = False) -> Outcome:
    """Run the recipe at `path`, on `model` instead of its own where one is given, and write `folder`.

    Raises InvalidValue for a recipe that is none, brings code, or whose model is not here; ConversionFailed with
    Olive's own words; CupolaError where it is not installed.
    """
    workflow = recipe.read(path)
    recipe.check(workflow, allow_scripts=allow_scripts)
    source = (model or Path(recipe.model_path(workflow) or "")).resolve()
    if not (recipe.model_path(workflow) or model) or not source.exists():
        raise InvalidValue(f"The model of the recipe, {recipe.model_path(workflow)}, is not here; name a folder.")
    if not allow_scripts and source.is_dir() and recipe.is_checkpoint(workflow):
        check_weights(source, checked_config(source))
    parameters = {"recipe": path.name, "passes": ", ".join(recipe.passes(workflow))}
    work = manifest.Work("olive", dict(parameters), libraries=LIBRARIES)
    work.read(source)
    work.inputs[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    with appearing(folder) as partial:
        scratch = partial.resolve() / "olive"  # gone with what a killed run left
        scratch.mkdir()
        _take(_run(recipe.prepared(workflow, source, scratch), scratch), partial)
        shutil.rmtree(scratch, ignore_errors=True)
        genai_config.read(partial)  # what the server would refuse is no artifact
        types = tensor_types.of_onnx(partial)
        record = manifest.write(partial, work, tensor_types=types)
    return Outcome(folder, types, record.steps[-1].peak_memory)


def _run(workflow: recipe.Recipe, scratch: Path) -> Path:
    """The folder of the model that comes out."""
    with quiet() as words:
        try:
            from olive.exception import OliveError
            from olive.workflows import run
        except ModuleNotFoundError as error:
            raise CupolaError(
                f"Recipes need {error.name}. Install it with: pip install 'cupola[cpu,convert,olive]'"
            ) from None
        try:
            with _silent(), _reconciled(scratch):
                best = run(workflow).get_best_candidate()
        except (OliveError, *FAILURES) as error:
            require_growth(scratch)
            reason = str(error) or words.getvalue().strip().rpartition("\n")[2] or type(error).__name__
            raise ConversionFailed(f"Olive cannot run the recipe: {reason[:MOST_WORDS]}") from None
    if best is None or best.model_path is None:
        raise ConversionFailed("Olive ran the recipe, and no model came out of it.")
    found = Path(best.model_path)
    return found if found.is_dir() else found.parent


def _take(made: Path, partial: Path) -> None:
    """Move the model's files. Raises ConversionFailed for a model that is no folder of GenAI."""
    if not (made / "genai_config.json").is_file():
        raise ConversionFailed(
            "What the recipe makes has no genai_config.json, so no engine here loads it; let its passes end in or begin"
            " with ModelBuilder."
        )
    for path in sorted(made.iterdir()):
        if path.name not in _NOTES:
            shutil.move(path, partial / path.name)


@contextmanager
def _silent() -> Iterator[None]:
    """Olive reports what it does to its makers, unless it takes itself to be in a pipeline: then it says nothing."""
    from olive.telemetry import Telemetry

    asked = Telemetry._is_ci_environment
    Telemetry._is_ci_environment = staticmethod(lambda: True)
    try:
        yield
    finally:
        Telemetry._is_ci_environment = staticmethod(asked)


@contextmanager
def _reconciled(scratch: Path) -> Iterator[None]:
    """Olive's pass patches a module that the builder no longer has, skips a step that it now wants, and calls options
    by names (`int4_block_size`) that it passes over in silence.
    """
    from olive.passes.onnx.model_builder import ModelBuilder

    builder = model_builder()
    create, patch = builder.create_model, ModelBuilder.maybe_patch_quant

    def prepared(
        model_name: str, input_path: str, output_dir: str, precision: str, execution_provider: str, cache_dir: str,
        **options: Any,
    ) -> None:  # fmt: skip
        places = (model_name, input_path, output_dir, str(precision), execution_provider, str(scratch / "builder"))
        pairs = [f"{key.removeprefix('int4_')}={_written(key, value)}" for key, value in options.items()]
        with spilling(builder, scratch):
            create(*places, **builder.parse_extra_options(*places, pairs))

    builder.create_model, ModelBuilder.maybe_patch_quant = prepared, staticmethod(lambda: None)
    try:
        yield
    finally:
        builder.create_model, ModelBuilder.maybe_patch_quant = create, staticmethod(patch)


def _written(key: str, value: Any) -> str:
    """An option as the builder's command takes it."""
    if isinstance(value, list | tuple):
        return ("/" if "op_types" in key else ",").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
