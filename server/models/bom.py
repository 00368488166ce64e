"""A CycloneDX 1.6 bill of materials of one artifact (ML-BOM): what it is, what it was made from, how good it is.

https://cyclonedx.org/docs/1.6/json/ Written by hand, since the format's library knows no model cards. Everything in it
comes from the manifest or the record, so the same artifact has the same document, byte for byte.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .. import __version__
from .lineage import Record, Step
from .quality import Quality

Json = dict[str, Any]
# Identifiers that models come under; a licence that is none of them goes by its name, as the format wants it.
SPDX = frozenset(
    "AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 BSD-2-Clause BSD-3-Clause CC-BY-4.0 CC-BY-NC-4.0 CC-BY-NC-SA-4.0"
    " CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0"
    " GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later ISC LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only"
    " LGPL-3.0-or-later MIT MIT-0 MPL-2.0 ODC-By-1.0 Unlicense".split()
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a bill is written of. `files`: name, size in bytes, SHA-256."""

    name: str
    licence: str
    files: tuple[tuple[str, int, str], ...]
    digest: str
    created: datetime
    description: str = ""
    tasks: tuple[str, ...] = ()
    origin: str = ""  # where it was pulled from, or what it was made from, in words
    format: str = ""
    quantization: str = ""
    quality: Quality | None = None
    record: Record | None = None


def bill(subject: Subject) -> Json:
    """The document, ready for JSON."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, f"cupola:{subject.name}:{subject.digest}:{__version__}").urn,
        "version": 1,
        "metadata": {
            "timestamp": subject.created.isoformat(),
            "tools": {"components": [*_tools(subject.record)]},
            "component": _model(subject),
        },
    }


def _model(subject: Subject) -> Json:
    found: Json = {
        "type": "machine-learning-model",
        "bom-ref": _ref(subject.name, subject.digest),
        "name": subject.name,
        "version": subject.digest[:16],
        "description": subject.description,
        "licenses": _licences(subject.licence),
        "components": [_file(subject, *file) for file in subject.files],
        "pedigree": _pedigree(subject),
        "modelCard": _card(subject),
        "properties": [*_properties(subject)],
    }
    if len(subject.files) == 1:
        found["hashes"] = _hashes(subject.files[0][2])
    return {key: value for key, value in found.items() if value}


def _file(subject: Subject, name: str, size: int, sha256: str) -> Json:
    return {
        "type": "file",
        "bom-ref": f"{_ref(subject.name, subject.digest)}/{name}",
        "name": name,
        "hashes": _hashes(sha256),
        "properties": [_property("size", size)],
    }


def _pedigree(subject: Subject) -> Json:
    """What it descends from, the base first, and every step in words."""
    record = subject.record
    ancestors: list[Json] = []
    if record is not None:
        if record.base_model:
            ancestors.append({"type": "machine-learning-model", "name": record.base_model})
        inputs = {(name, digest) for step in record.steps for name, digest in step.inputs.items()}
        for name, digest in sorted(inputs):
            ref = _ref(name, digest)
            ancestors.append({"type": "machine-learning-model", "bom-ref": ref, "name": name, "version": digest[:16]})
            ancestors[-1]["properties"] = [_property("digest", digest)]
    notes = [subject.origin, *(_said(number, step) for number, step in enumerate(record.steps if record else (), 1))]
    return {
        key: value for key, value in {"ancestors": ancestors, "notes": "\n".join(filter(None, notes))}.items() if value
    }


def _card(subject: Subject) -> Json:
    parameters: Json = {"approach": {"type": "self-supervised"}, "architectureFamily": "transformer"}
    if subject.tasks:
        parameters["task"] = ", ".join(subject.tasks)
    if subject.record is not None and subject.record.datasets:
        parameters["datasets"] = [
            {"type": "dataset", "name": name, "contents": {"properties": [_property("sha256", digest)]}}
            for name, digest in sorted(subject.record.datasets.items())
        ]
    card: Json = {"modelParameters": parameters}
    quality = subject.quality or (subject.record.quality if subject.record else None)
    if quality is not None:
        card["quantitativeAnalysis"] = {"performanceMetrics": [*_metrics(quality)]}
    return card


def _metrics(quality: Quality) -> Iterator[Json]:
    """Every figure of a quality; the slice says what it was compared with."""
    figures = quality.model_dump(mode="json", exclude_none=True)
    for name, value in figures.items():
        if isinstance(value, int | float) and name != "positions":
            yield {
                "type": name,
                "value": f"{value:.6g}",
                "slice": f"{quality.positions} positions, {quality.reference}",
            }


def _tools(record: Record | None) -> Iterator[Json]:
    """Cupola, which wrote the bill, and whatever made the artifact."""
    versions = {("cupola", __version__)}
    versions |= {each for step in (record.steps if record else ()) for each in step.versions.items()}
    for name, version in sorted(versions):
        yield {"type": "application" if name == "cupola" else "library", "name": name, "version": version}


def _properties(subject: Subject) -> Iterator[Json]:
    facts: Json = {"digest": subject.digest, "format": subject.format, "quantization": subject.quantization}
    if record := subject.record:
        facts |= {"parameters": record.parameters, "cupola_version": record.cupola_version}
        facts |= {f"tensors:{kind}": count for kind, count in record.tensor_types.items()}
        facts |= {f"step:{number}": _step(step) for number, step in enumerate(record.steps, 1)}
    yield from (_property(name, value) for name, value in facts.items() if value not in (None, ""))


def _step(step: Step) -> str:
    return json.dumps(step.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def _said(number: int, step: Step) -> str:
    how = ", ".join(f"{name} {value}" for name, value in step.parameters.items() if value not in (None, ""))
    return f"{number}. {step.tool}{f': {how}' if how else ''}"


def _licences(licence: str) -> list[Json]:
    """By SPDX identifier where it is one, however it is written; by name where not; nothing where it is not known."""
    if not licence or licence == "unknown":
        return []
    known = {each.lower(): each for each in SPDX}.get(licence.lower())
    return [{"license": {"id": known} if known else {"name": licence}}]


def _hashes(sha256: str) -> list[Json]:
    return [{"alg": "SHA-256", "content": sha256}]


def _property(name: str, value: object) -> Json:
    return {"name": f"cupola:{name}", "value": str(value)}


def _ref(name: str, digest: str) -> str:
    return f"{name}#{digest[:16]}"
