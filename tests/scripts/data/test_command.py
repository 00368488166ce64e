import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from converters.program import build
from scripts import commands, examples
from scripts.data.card import Card

from .test_prepare import lines, pairs, split


def run(*words: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(build(commands, ""), ["prepare-data", *map(str, words)])
    return found.exit_code, found.stdout, found.stderr


def test_the_command_prints_a_summary_or_the_card(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", [*pairs(), "{"])
    status, out, _ = run(source, tmp_path / "one", "--shares", "60/20/20", "--near", "off")
    assert status == 0
    assert "121 lines. Rejected: not JSON 1 (rejected.jsonl)." in out
    assert "near ones not looked for" in out
    words = [source, tmp_path / "two", "--shares", "60/20/20", "--near", "off", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "scripts", "prepare-data", *map(str, words)],
        stdin=subprocess.PIPE,  # open as long as somebody waits for the result
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
    card = Card.model_validate_json(out.splitlines()[-1])
    assert card.examples == Counter({name: len(split(tmp_path / "one", name)) for name in examples.SPLITS})
    assert card.examples["test"] > 12


@pytest.mark.parametrize(
    ("words_told", "sentence"),
    [
        (("--near", "close"), "--near close is no number; write 0.85, or off."),
        (("--near", "3"), "near: Input should be less than or equal to 1"),
        (("--shares", "80/20"), "--shares 80/20 is not of the form 80/10/10"),
        (("--shares", "0/50/50"), "--shares 0/50/50 is not of the form 80/10/10"),
        (("--paraphrase", "http://x/v1"), "--paraphrase URL and --paraphrase-model NAME belong together."),
        (("--paraphrase", "http://[::x/v1", "--paraphrase-model", "m"), "is no URL; write http://HOST:PORT/v1"),
        (("--paraphrase", "http://h:80a/v1", "--paraphrase-model", "m"), "'http://h:80a/v1' is no URL"),
        (("--context", "100"), "a context counts tokens"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, words_told: tuple[str, ...], sentence: str) -> None:
    status, _, err = run(lines(tmp_path / "pairs.jsonl", pairs()), tmp_path / "data", *words_told)
    assert status == 1
    assert err.startswith("Error: ")
    assert sentence in err
