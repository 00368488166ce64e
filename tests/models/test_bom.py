"""Bills of materials, checked by the schema of CycloneDX 1.6."""

import importlib.resources
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx import schema
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import CliRunner

from server.cli import app
from server.errors import CupolaError, InvalidValue
from server.models.bom import SPDX, Json, Subject, bill
from server.models.lineage import RECORD, Record, Step, StoredFile
from server.models.quality import Quality

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORDED = Record(
    base_model="SmolLM2-135M",
    licence="apache-2.0",
    parameters=134_515_008,
    tensor_types={"F32": 63, "int8": 122},
    steps=(
        Step(tool="prune", parameters={"blocks": 20}, versions={"torch": "2.13"}, inputs={"base": A}),
        Step(tool="quantize", versions={"torch": "2.13", "onnx": "1.21"}, inputs={"pruned": B}, datasets={"t.txt": C}),
    ),
    files=(StoredFile(name="m.onnx", size=1, sha256=A), StoredFile(name="x/m.data", size=2, sha256=B)),
    digest=C,
    quality=Quality(kl_mean=0.0123456789, kl_p99=0.5, top1=0.97, positions=256, reference="the checkpoint"),
    created=WHEN,
    cupola_version="0.1.0",
)
FILES = tuple((file.name, file.size, file.sha256) for file in RECORDED.files)


def checked(document: Json) -> Json:
    """The bill's component, if the document is as the schema wants it."""
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    assert problem is None, problem
    component: Json = document["metadata"]["component"]
    return component


def test_everything_that_is_known_stands_in_it() -> None:
    document = bill(Subject("tuned@onnx", "Apache-2.0", FILES, C, WHEN, tasks=("chat",), record=RECORDED))
    model = checked(document)
    assert model["type"] == "machine-learning-model"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {part["name"]: part["hashes"][0]["content"] for part in model["components"]} == {"m.onnx": A, "x/m.data": B}
    assert [each["name"] for each in model["pedigree"]["ancestors"]] == ["SmolLM2-135M", "base", "pruned"]
    assert "1. prune: blocks 20\n2. quantize" in model["pedigree"]["notes"]
    card = model["modelCard"]
    assert card["modelParameters"]["datasets"][0]["contents"]["properties"][0]["value"] == C
    metrics = {each["type"]: each["value"] for each in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert metrics == {"kl_mean": "0.0123457", "kl_p99": "0.5", "top1": "0.97"}
    properties = {each["name"]: each["value"] for each in model["properties"]}
    assert properties["cupola:tensors:int8"] == "122"
    assert Step.model_validate_json(properties["cupola:step:2"]) == RECORDED.steps[1]
    tools = {(each["name"], each["version"]) for each in document["metadata"]["tools"]["components"]}
    assert tools == {("cupola", "0.1.0"), ("torch", "2.13"), ("onnx", "1.21")}
    assert document == bill(Subject("tuned@onnx", "Apache-2.0", FILES, C, WHEN, tasks=("chat",), record=RECORDED))


def test_one_file_gives_the_model_its_hash() -> None:
    model = checked(bill(Subject("one", "MIT", (("m.gguf", 5, A),), C, WHEN)))
    assert model["hashes"] == [{"alg": "SHA-256", "content": A}]
    assert "pedigree" not in model


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("apache-2.0", [{"license": {"id": "Apache-2.0"}}]),
        ("Llama 3.2 Community License", [{"license": {"name": "Llama 3.2 Community License"}}]),
        ("unknown", None),
    ],
)
def test_a_licence_goes_by_its_identifier_or_its_name(licence: str, expected: object) -> None:
    assert checked(bill(Subject("one", licence, FILES, C, WHEN))).get("licenses") == expected


def test_our_identifiers_are_those_of_spdx() -> None:
    source = importlib.resources.files(schema).joinpath("_res/spdx.SNAPSHOT.schema.json")
    assert set(json.loads(source.read_text()).get("enum")) >= SPDX


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, CupolaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_writes_the_bill_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    folder.mkdir()
    with pytest.raises(InvalidValue, match=f"has no {RECORD}"):
        run("bom", str(folder))
    (folder / RECORD).write_text(RECORDED.model_dump_json())
    run("bom", str(folder), "-o", str(tmp_path / "bom.json"))
    written = json.loads((tmp_path / "bom.json").read_text())
    assert checked(written)["name"] == "tuned"
    assert json.loads(run("bom", str(folder))) == written
