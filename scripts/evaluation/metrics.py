"""How good answers are: means of what each answer scores in 0..1, and figures of all of them together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import InvalidValue

from .statistics import Mean, Scores, Statistic, Sums

Metric = Callable[[str, str], float]  # of the answer and the one wanted
NONE = ""  # what an answer is taken for that is no class


def exact(answer: str, wanted: str) -> float:
    return float(answer == wanted)


def exact_spaces(answer: str, wanted: str) -> float:
    return float(answer.split() == wanted.split())


def exact_words(answer: str, wanted: str) -> float:
    """But for white space, case, and a full stop or semicolon at the end."""
    return float(_plain(answer) == _plain(wanted))


def _plain(text: str) -> list[str]:
    return text.casefold().strip().rstrip(".;").split()


def exact_json(answer: str, wanted: str) -> float:
    """Equal when parsed; true and 1 are not, 1 and 1.0 are."""
    left, right = parsed(answer), parsed(wanted)
    return float(left is not None and left == right)


def json_valid(answer: str, _wanted: str) -> float:
    return float(parsed(answer) is not None)


def parsed(text: str) -> str | None:
    """JSON in one canonical spelling; None where it is none (NaN and Infinity are none)."""
    try:
        return json.dumps(json.loads(text, parse_constant=_refuse, parse_float=_number), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _refuse(name: str) -> Any:
    raise ValueError(name)


def rouge(kind: str) -> Metric:
    """F-measure of rouge-score, without stemming."""

    def measure(answer: str, wanted: str) -> float:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

        return float(RougeScorer([kind]).score(wanted, answer)[kind].fmeasure)

    return measure


MEANS: dict[str, Metric] = {
    "exact": exact,
    "exact_spaces": exact_spaces,
    "exact_words": exact_words,
    "exact_json": exact_json,
    "json_valid": json_valid,
    "rouge1": rouge("rouge1"),
    "rouge2": rouge("rouge2"),
    "rougeL": rouge("rougeL"),
}
CLASSES = ("accuracy", "precision", "recall", "f1")
METRICS = (*MEANS, *CLASSES, "bleu", "json_schema", "perplexity")


def check(names: tuple[str, ...], *, schema: bool) -> None:
    """Raises InvalidValue."""
    for name in names:
        if name not in METRICS:
            raise InvalidValue(f"There is no metric '{name}'; there are {', '.join(METRICS)}.")
    if "json_schema" in names and not schema:
        raise InvalidValue("The metric json_schema checks answers against a schema; name its file with --schema.")


def mean(metric: Metric, answers: list[str], wanted: list[str]) -> Mean:
    return Mean(np.array([metric(*pair) for pair in zip(answers, wanted, strict=True)]))


def checked_schema(text: str, origin: Path) -> Any:
    """The document of a JSON Schema. Raises InvalidValue for what is none, or reaches for the network."""
    import jsonschema

    try:
        document = json.loads(text)
        jsonschema.Draft202012Validator.check_schema(document)
    except ValueError as error:
        raise InvalidValue(f"{origin} is no JSON: {error}.") from None
    except jsonschema.SchemaError as error:
        raise InvalidValue(f"{origin} is no JSON Schema: {error.message}.") from None
    if _refers_out(document):
        raise InvalidValue(f"{origin} has a $ref that leaves the file; put what it means under $defs.")
    return document


def _refers_out(document: Any) -> bool:
    if isinstance(document, dict):
        target = document.get("$ref")
        return (isinstance(target, str) and not target.startswith("#")) or any(map(_refers_out, document.values()))
    return isinstance(document, list) and any(map(_refers_out, document))


def follows(schema: Any) -> Metric:
    """Whether an answer is JSON that a schema allows."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)

    def measure(answer: str, _wanted: str) -> float:
        if parsed(answer) is None:
            return 0.0
        return float(validator.is_valid(json.loads(answer)))

    return measure


def bleu(answers: list[str], wanted: list[str]) -> Sums:
    """The BLEU of the whole corpus as sacrebleu has it by default (13a, exponential smoothing), in 0..1."""
    from sacrebleu.metrics.bleu import BLEU

    measure = BLEU()
    rows = [
        measure._extract_corpus_statistics([answer], [[one]])[0]  # what its own bootstrap draws
        for answer, one in zip(answers, wanted, strict=True)
    ]

    def value(sums: Scores) -> Scores:
        scores = [measure._compute_score_from_stats([round(x) for x in row]).score for row in sums]
        return np.array(scores) / 100

    return Sums(np.array(rows, float), value)


def perplexity(losses: list[float], tokens: list[int]) -> Sums:
    """exp of the mean loss a token; `losses` are sums over an answer's tokens, in nats."""
    return Sums(np.array([losses, tokens], float).T, lambda sums: np.exp(sums[:, 0] / sums[:, 1]))


def classes(answers: list[str], wanted: list[str], field: str | None) -> tuple[list[str], list[str]]:
    """The classes that answers name and those wanted. Raises InvalidValue where a wanted answer has no such field."""
    if field is None:
        return [text.strip() for text in answers], [text.strip() for text in wanted]
    sought = [_field(text, field) for text in wanted]
    if NONE in sought:
        text = wanted[sought.index(NONE)]
        raise InvalidValue(f"The answer wanted {text[:80]!r} is no JSON object with the field '{field}'.")
    return [_field(text, field) for text in answers], sought


def _field(text: str, field: str) -> str:
    found = parsed(text)
    document = json.loads(found) if found is not None else None
    if not isinstance(document, dict) or field not in document:
        return NONE
    value = document[field]
    return value if isinstance(value, str) and value else json.dumps(value)


def classified(guessed: list[str], wanted: list[str]) -> dict[str, Statistic]:
    """Accuracy, and precision, recall and F1 as means over the classes wanted; an answer that is none finds none."""
    names = sorted(set(wanted))
    truth = np.array([[name == one for name in names] for one in wanted], float)
    guess = np.array([[name == one for name in names] for one in guessed], float)
    rows = np.concatenate((truth * guess, truth, guess), axis=1)

    def parts(sums: Scores) -> tuple[Scores, Scores, Scores]:
        hits, are, said = np.split(sums, 3, axis=1)
        return hits, are, said

    def share(over: Scores, under: Scores, present: Scores) -> Scores:
        """The mean over classes that are in a draw; 0 of 0 is 0, as in scikit-learn with zero_division=0."""
        each = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
        found: Scores = (each * present).sum(axis=1) / present.sum(axis=1)
        return found

    def precision(sums: Scores) -> Scores:
        hits, are, said = parts(sums)
        return share(hits, said, (are > 0).astype(float))

    def recall(sums: Scores) -> Scores:
        hits, are, _ = parts(sums)
        return share(hits, are, (are > 0).astype(float))

    def f1(sums: Scores) -> Scores:
        hits, are, said = parts(sums)
        return share(2 * hits, are + said, (are > 0).astype(float))

    right = np.array([one == other for one, other in zip(guessed, wanted, strict=True)], float)
    return {
        "accuracy": Mean(right),
        "precision": Sums(rows, precision),
        "recall": Sums(rows, recall),
        "f1": Sums(rows, f1),
    }
