"""Structured output over many JSON Schemas: how many are enforced, how many answers end, and whether all are valid.

    python -P -m bench.schemas [--model smollm2] [--tokens 1024] [--every 1] [--json]

The schemas are those of the JSON Schema test suite (https://github.com/json-schema-org/JSON-Schema-Test-Suite, MIT; all
drafts, each schema once) and some like those of tools. Each that the engine accepts is answered once at temperature 1.
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema.exceptions import ValidationError
from jsonschema.validators import Draft202012Validator, validator_for

from server.engine.arrival import make_sequences
from server.engine.engine import Engine, StepResult
from server.engine.guidance import Guides
from server.errors import InvalidValue
from server.hardware.cpu import usable_cores
from server.models.registry import Registry
from server.models.store import Store
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement
from server.settings import load_settings
from server.types import Grammar, Request, SamplingParams

SUITE = Path(__file__).with_name("data") / "json_schema_suite.json"
COMPOSED = 120
SLOTS, CONTEXT = 8, 2048
PROMPT = "<|im_start|>user\nWrite a JSON document for this schema: {}<|im_end|>\n<|im_start|>assistant\n"


@dataclass
class Outcome:
    """What came of the schemas. A schema may be rejected for several reasons; `invalid` and `cut` name schemas."""

    accepted: int = 0
    refused: int = 0
    ended: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    invalid: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


def schemas(every: int = 1) -> list[tuple[str, Any]]:
    """Each schema with where it is from."""
    suite = [(entry["from"], entry["schema"]) for entry in json.loads(SUITE.read_text(encoding="utf-8"))]
    return [*suite, *((f"composed {seed}", composed(seed)) for seed in range(COMPOSED))][::every]


def composed(seed: int) -> dict[str, Any]:
    """A schema as tools have them: an object with fields of many kinds, some of them optional."""
    chance = random.Random(seed)  # not for secrets
    fields = {f"{chance.choice(NAMES)}_{number}": _field(chance, 2) for number in range(chance.randint(1, 6))}
    required = [name for name in fields if chance.random() < 0.7]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


NAMES = "city name amount date items status id note price user".split()


def _field(chance: random.Random, depth: int) -> dict[str, Any]:
    kinds: list[Any] = [
        lambda: {"type": "string"},
        lambda: {"type": "string", "minLength": 2, "maxLength": chance.randint(3, 40)},
        lambda: {"type": "integer", "minimum": chance.randint(-9, 0), "maximum": chance.randint(1, 999)},
        lambda: {"type": "number"},
        lambda: {"type": "boolean"},
        lambda: {"enum": ["red", "green", 3, None]},
        lambda: {"type": "string", "format": chance.choice(["date", "time", "email", "uuid", "ipv4"])},
        lambda: {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        lambda: {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 9}]},
    ]
    if depth:
        kinds += [
            lambda: {"type": "array", "items": _field(chance, depth - 1), "maxItems": chance.randint(1, 4)},
            lambda: {"type": "object", "properties": {"a": _field(chance, depth - 1)}, "required": ["a"]},
        ]
    found: dict[str, Any] = chance.choice(kinds)()
    return found


def run(runner: ModelRunner, chosen: list[tuple[str, Any]], tokens: int) -> Outcome:
    """Answer each accepted schema once."""
    outcome, texts, accepted = Outcome(), dict[str, str](), dict[str, Any]()
    ended: list[str] = []
    guides = Guides(runner.tokenizer, runner.info.vocab_size)

    def take(result: StepResult) -> None:
        for key, delta in result.deltas.items():
            texts[key] = texts.get(key, "") + delta.text
            outcome.tokens += delta.tokens
            if delta.finish == "stop":
                ended.append(key)
            elif delta.finish:
                outcome.cut.append(key)
        outcome.cut += [f"{key}: {error}" for key, error in result.failures.items()]

    engine = Engine(runner, take, prefill_seconds=0.04)
    for number, (origin, schema) in enumerate(chosen):
        key = f"{origin} #{number}"
        try:
            for sequence in make_sequences(_request(key, schema, number, tokens), runner, guides):
                engine.add(sequence)
            accepted[key] = schema
        except InvalidValue as error:
            outcome.rejected.update(reasons(error.message))
            outcome.refused += 1
    began = time.monotonic()
    while engine.step():
        pass
    outcome.seconds = time.monotonic() - began
    outcome.accepted, outcome.ended = len(accepted), len(ended)
    outcome.invalid = [key for key in ended if not valid(texts[key], accepted[key])]
    return outcome


def _request(key: str, schema: Any, seed: int, tokens: int) -> Request:
    written = json.dumps(schema)
    params = SamplingParams(temperature=1, seed=seed, max_tokens=tokens)
    return Request(key, PROMPT.format(written[:600]), params, grammar=Grammar("json_schema", written, json=True))


def valid(text: str, schema: Any) -> bool:
    """Whether a text is a document of the schema, by the draft that it names, else by the newest.

    Where a pattern is no regular expression of Python's (`\\p{L}`), being JSON has to do.
    """
    try:
        document = json.loads(text)
    except ValueError:
        return False
    try:
        validator_for(schema, default=Draft202012Validator)(schema).validate(document)
    except ValidationError:
        return False
    except re.error:
        return True
    return True


def reasons(message: str) -> list[str]:
    """Why a schema was rejected, without its own names: each keyword, or a few words."""
    message = message.partition(": ")[2]
    if found := re.match(r"Unimplemented keys: \[(.*)\]", message):
        return found[1].replace('"', "").split(", ")
    for part, words in WORDS.items():
        if part in message:
            return [words]
    return ["other"]


WORDS = {
    "Resource '": "$ref to another document",
    "Anchor": "$ref to another document",
    "oneOf": "oneOf whose members may overlap",
    "2**53": "numbers beyond 2**53",
    "too many digits": "numbers beyond 2**53",
    "Unknown format": "format of an unknown name",
    "Unsatisfiable": "no document matches",
    "patternProperty": "patternProperties that overlap",
    "regex": "pattern that is not understood",
}


def _runner(name: str) -> ModelRunner:
    settings, registry = load_settings(), Registry.load()
    store = Store(settings.home)
    spec, variants = registry.resolve(name)
    for variant in variants:
        manifest = store.manifest(spec, variant)
        if manifest is not None:
            placement = Placement(threads=usable_cores(), slots=SLOTS, context=CONTEXT)
            return load_runner(variant.backend, store.path(manifest), placement, lambda _: None)
    sys.exit(f"No variant of {name} is here. Run: cupola pull {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--every", type=int, default=1, help="take each so many-th schema only")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    outcome = run(_runner(arguments.model), schemas(arguments.every), arguments.tokens)
    if arguments.json:
        print(json.dumps(vars(outcome)))
        return
    print(f"{outcome.accepted} schemas enforced, {outcome.ended} answers ended within {arguments.tokens} tokens")
    print(f"{len(outcome.invalid)} invalid, {len(outcome.cut)} cut, {outcome.tokens / outcome.seconds:.0f} tokens/s")
    for name in (*outcome.invalid, *outcome.cut):
        print(f"  {name}")
    print(f"{outcome.refused} schemas rejected:")
    for why, count in outcome.rejected.most_common():
        print(f"  {count:>4} {why}")


if __name__ == "__main__":
    main()
