"""Runs that are killed anywhere, and what the next ones make of what they left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from converters.program import build
from scripts import commands
from scripts.reporting import Reporter
from scripts.teaching.order import Order, load
from scripts.teaching.teach import teach
from server.environment import child_environment
from server.errors import CupolaError, InvalidValue
from tests.serving import add_fake_model, pull
from tests.waiting import wait_for

from .teachers import Teacher, lines, read_lines

CONCURRENCY = 3
# Requests after which a run is killed, and of what kind those are then.
KILLS = ((3, "new inputs"), (10, "word"), (20, "Grade how well"))


def say(request: str) -> str:
    """Inputs, grades and answers, the same for the same request."""
    mark = sum(map(ord, request))
    if "new inputs" in request:
        words = "bicycle thunder Lisbon marmalade quartz violin harbour algebra penguin candle orchard".split()
        return json.dumps({"inputs": [{"prompt": f"{words[mark % 11]} {words[mark % 7]} {mark % 9}"}]})
    if "Grade how well" in request:
        return json.dumps({"reason": "So.", "grade": 1 + mark % 5})
    return f"re: {mark}"


def start(recipe: Path, out: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "scripts", "teach", "--recipe", str(recipe), "-o", str(out), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment() | environment,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    out = process.stdout.read()  # stdin stays open: its end is the parent's
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 0, out + error
    return out


def unique(bodies: list[dict[str, Any]]) -> set[str]:
    return {json.dumps(body) for body in bodies}


def test_killed_again_and_again_it_makes_what_an_undisturbed_run_makes(tmp_path: Path) -> None:
    lines(tmp_path / "prompts.jsonl", [{"prompt": f"word {number}"} for number in range(16)])
    recipe = tmp_path / "order.yaml"
    with Teacher(say) as teacher:
        fields = {"prompts": "prompts.jsonl", "teachers": [teacher.at], "generate": 2}
        fields |= {"concurrency": CONCURRENCY, "judge": {"threshold": 3}}
        recipe.write_text(yaml.safe_dump(fields))
        arguments = ["teach", "--recipe", str(recipe), "-o", str(tmp_path / "whole.jsonl")]
        whole = CliRunner().invoke(build(commands, ""), arguments)
        undisturbed = unique(teacher.bodies)
        teacher.bodies.clear()
        out = tmp_path / "killed.jsonl"
        for after, kind in KILLS:
            teacher.hold(after)
            process = start(recipe, out)
            teacher.wait_until_held()
            assert kind in teacher.asked[-1]
            process.kill()
            process.communicate()
            teacher.release()
            assert not out.exists()
        report = json.loads(ended(start(recipe, out, "--json")).splitlines()[-1])
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert read_lines(tmp_path / "killed.rejected.jsonl") == read_lines(tmp_path / "whole.rejected.jsonl")
    assert unique(teacher.bodies) == undisturbed
    assert len(teacher.bodies) - len(undisturbed) <= CONCURRENCY * len(KILLS)
    assert report["runs"] > 1
    assert report["generated"] == 2
    assert "Requests" in whole.output
    assert f"{report['examples']} examples; {report['accepted']} of 18 inputs (2 of them new)" in whole.output


def test_our_own_server_teaches_and_ends_with_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    add_fake_model(home, "tutor", answer_tokens=10)
    pull(home, "tutor")
    monkeypatch.setenv("CUPOLA_HOME", str(home))
    prompts = lines(tmp_path / "prompts.jsonl", [{"prompt": word} for word in "abcd"])
    order = Order.model_validate({"prompts": prompts, "teachers": ("own#tutor",)})
    report = teach(order, tmp_path / "out.jsonl", Reporter(None))
    assert report.requests == report.accepted + sum(report.rejected.values()) == 4
    assert report.accepted > 0
    assert report.completion_tokens > 4
    assert teach(order, tmp_path / "out.jsonl", Reporter(None)).requests == 0
    with pytest.raises(CupolaError, match="The teacher nobody did not start"):
        teach(
            Order.model_validate({"prompts": prompts, "teachers": ("own#nobody",)}),
            tmp_path / "n.jsonl",
            Reporter(None),
        )
    recipe = tmp_path / "order.yaml"
    recipe.write_text(yaml.safe_dump({"prompts": "prompts.jsonl", "teachers": ["own#tutor"], "samples": 2000}))
    process = start(recipe, tmp_path / "long.jsonl", CUPOLA_HOME=str(home))
    journal = tmp_path / "long.journal.jsonl"
    wait_for(lambda: journal.exists() and journal.stat().st_size > 0, 30)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(children, 20)[1]


def test_an_order_in_a_file_is_changed_by_options(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    lines(folder / "p.jsonl", [{"prompt": "a"}])
    (folder / "mine.yaml").write_text('user: "{text}"')
    (folder / "key").write_text("k")
    recipe = folder / "order.yaml"
    teachers = [{"at": "http://a/v1#m", "api_key_file": "key", "price": [1, 2]}, "own#smollm2"]
    recipe.write_text(yaml.safe_dump({"prompts": "p.jsonl", "task": "mine.yaml", "teachers": teachers, "judge": {}}))
    order = load(recipe, {"samples": 3, "judge": {"threshold": 2}})
    assert order.prompts == folder / "p.jsonl"
    assert order.task == str(folder / "mine.yaml")
    assert order.headers(order.teachers[0]) == {"authorization": "Bearer k"}
    assert order.headers(order.teachers[1]) == {}
    assert order.judge is not None
    assert (order.samples, order.judge.threshold) == (3, 2)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "prompts: Field required"),
        ({"prompts": "p", "sample": 2}, "sample: there is no such field .did you mean samples"),
        ({"prompts": "p", "teachers": ["smollm2"]}, r"teachers\.0.*'smollm2' names no teacher"),
        ({"prompts": "p", "teachers": ["http://h:80a/v1#m"]}, "'http://h:80a/v1#m' names no teacher"),
        ({"prompts": "p", "teachers": ["http://a..b/v1#m"]}, "names no teacher"),
        ({"prompts": "p", "judge": {"teacher": "http://[::x/v1#m"}}, "names no teacher"),
        ({"prompts": "p", "teachers": ["http://a#m", "http://a#m"]}, "named twice"),
        ({"prompts": "p", "teachers": []}, "teachers: "),
        ({"prompts": "p", "teachers": ["http://a#m", "http://b#m"], "api_key_file": "k"}, "one server"),
        ({"prompts": "p", "shortest": 9, "longest": 2}, "shortest 9 is more than longest 2"),
        ({"prompts": "p", "judge": {"prompt": "Grade it."}}, r"it has to show \{request\} and \{answer\}"),
        ({"prompts": "p", "judge": {"threshold": 6}}, "judge.threshold"),
        ({"prompts": "p", "price": [-1, 1]}, "price"),
    ],
)
def test_a_bad_order_says_what_is_wrong(fields: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    recipe = tmp_path / "order.yaml"
    recipe.write_text(yaml.safe_dump(fields))
    with pytest.raises(InvalidValue, match=complaint):
        load(recipe, {})
