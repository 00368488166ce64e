"""Structured output over the JSON Schema test suite: valid, ended, and the documents' table of what is refused."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bench.schemas import reasons, run, schemas
from server.engine.guidance import Guides
from server.errors import InvalidValue
from server.runners import load_runner
from server.runners.base import Placement
from server.runners.fake import VOCABULARY, FakeTokenizer
from server.types import Grammar

ROOT = Path(__file__).parents[2]


def test_the_table_of_refused_schemas_is_true() -> None:
    guides, found, accepted = Guides(FakeTokenizer(), VOCABULARY), Counter[str](), 0
    for _, schema in schemas():
        try:
            guides.compile(Grammar("json_schema", json.dumps(schema), json=True))
            accepted += 1
        except InvalidValue as error:
            found.update(reasons(error.message))
    document = (ROOT / "docs" / "structured-output.md").read_text(encoding="utf-8")
    rows = [f"| `{why}` | {count} |" for why, count in found.items()]
    assert [row for row in rows if row not in document] == []
    assert f"{accepted} schemas" in document.replace("\n", " ")
    assert accepted > 300


@pytest.mark.real
def test_answers_of_a_real_model_are_valid_and_end(real_folder: Path) -> None:
    """Each 16th schema; `python -P -m bench.schemas` takes all."""
    runner = load_runner("onnx", real_folder, Placement(threads=2, slots=8, context=1024), lambda _: None)
    outcome = run(runner, schemas(16), 256)
    assert outcome.accepted > 20
    assert outcome.invalid == []
    assert outcome.ended >= 0.95 * outcome.accepted, outcome.cut
