"""The alert rules, by Prometheus' own tool: valid, explained, and each with a case that fires and one that does not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from .prometheus import DEPLOY, configured, promtool

DOCS = Path(__file__).parent.parent.parent / "docs"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
CASES: list[dict[str, Any]] = [
    case
    for test in yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())["tests"]
    for case in test["alert_rule_test"]
]
NAMES = [rule["alert"] for rule in RULES]


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    result = promtool("check", "config", configured(tmp_path))
    assert result.returncode == 0, result.stderr
    assert f"{len(RULES)} rules found" in result.stdout


def test_the_cases_hold() -> None:
    result = promtool("test", "rules", DEPLOY / "alerts_test.yml")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(name: str) -> None:
    cases = [case["exp_alerts"] for case in CASES if case["alertname"] == name]
    assert [] in cases
    assert any(cases)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 1"], ids=["always", "never"])
def test_the_cases_would_notice_another_rule(tmp_path: Path, name: str, expression: str) -> None:
    cases = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())
    cases["tests"] = [
        test for test in cases["tests"] if name in [case["alertname"] for case in test["alert_rule_test"]]
    ]
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump(cases))
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    (rule,) = (rule for rule in rules["groups"][0]["rules"] if rule["alert"] == name)
    rule["expr"] = expression
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    result = promtool("test", "rules", tmp_path / "alerts_test.yml")
    assert result.returncode != 0
    assert f"alertname: {name}" in result.stdout + result.stderr


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"]
    assert notes["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_document_has_a_section_for_each_alert_and_for_no_other() -> None:
    headings = re.findall(r"^### (Cupola\w+)$", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(NAMES)
