"""Every figure of a target, as something to draw from: quality by the metrics asked for, and time."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..examples import Example
from . import metrics
from .answers import Answer
from .found import ClassFigures
from .order import Order
from .statistics import Mean, Quantile, Statistic, Sums

FIRST = "first_token_seconds"


@dataclass(slots=True)
class Measured:
    """Statistics by name, figures of classes, and why what was asked for is not among them."""

    statistics: dict[str, Statistic] = field(default_factory=dict)
    classes: dict[str, ClassFigures] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)


def measure(answers: list[Answer], examples: list[Example], order: Order) -> Measured:
    """`answers` in the order of `examples`. Raises InvalidValue for a field that a wanted answer has not."""
    texts, wanted = [answer.text for answer in answers], [example.answer for example in examples]
    found = Measured()
    means = metrics.MEANS | ({"json_schema": metrics.follows(order.schema_document())} if order.schema_file else {})
    for name in order.metrics:
        if name in means:
            found.statistics[name] = metrics.mean(means[name], texts, wanted)
    if "bleu" in order.metrics:
        found.statistics["bleu"] = metrics.bleu(texts, wanted)
    asked = [name for name in metrics.CLASSES if name in order.metrics]
    if asked:
        guessed, sought = metrics.classes(texts, wanted, order.field)
        every = metrics.classified(guessed, sought)
        found.statistics |= {name: every[name] for name in asked}
        found.classes = by_class(guessed, sought)
    if "perplexity" in order.metrics:
        losses = [answer.loss for answer in answers if answer.loss is not None]
        if len(losses) == len(answers):
            counts = [answer.loss_tokens for answer in answers]
            found.statistics["perplexity"] = metrics.perplexity(losses, counts)
        else:
            found.not_measured["perplexity"] = "the server does not score texts that it is given"
    _time(found, answers)
    return found


def by_class(guessed: list[str], wanted: list[str]) -> dict[str, ClassFigures]:
    """Of every class that is wanted, by scikit-learn."""
    from sklearn.metrics import precision_recall_fscore_support  # type: ignore[import-untyped]

    names = sorted(set(wanted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # scikit-learn's own use of numpy
        rows: Any = precision_recall_fscore_support(wanted, guessed, labels=names, average=None, zero_division=0)
    return {
        name: ClassFigures(precision=float(precision), recall=float(recall), f1=float(f1), n=int(n))
        for name, precision, recall, f1, n in zip(names, *rows, strict=True)
    }


def _time(found: Measured, answers: list[Answer]) -> None:
    """Of the answers that were asked for one by one."""
    timed = [answer for answer in answers if answer.seconds is not None]
    if not timed:
        return
    seconds = np.array([answer.seconds for answer in timed], float)
    found.statistics["latency_seconds"] = Mean(seconds)
    found.statistics["latency_p50_seconds"] = Quantile(seconds, 0.5)
    found.statistics["latency_p95_seconds"] = Quantile(seconds, 0.95)
    first = np.array([np.nan if answer.first_seconds is None else answer.first_seconds for answer in timed])
    if np.isfinite(first).all():
        found.statistics[FIRST] = Mean(first)
    else:
        found.not_measured[FIRST] = "an answer was empty, so it has no first token"
    if all(answer.tokens is not None for answer in timed):
        tokens = np.array([answer.tokens for answer in timed], float)
        rows = np.stack((tokens, seconds), axis=1)
        found.statistics["tokens_per_second"] = Sums(rows, lambda sums: sums[:, 0] / sums[:, 1])
    else:
        found.not_measured["tokens_per_second"] = "the server does not count the tokens of its answers"
