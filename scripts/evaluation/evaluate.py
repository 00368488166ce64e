"""Every target answers the same examples; the answers are scored and compared."""

import numpy as np

from server.errors import InvalidValue

from .. import examples
from ..reporting import Reporter
from . import served
from .metrics import chosen
from .order import Evaluation, Figure, Order
from .statistics import Scores, compare, figure


def evaluate(order: Order, reporter: Reporter) -> Evaluation:
    """Raises InvalidValue for a target or metric that is none, CupolaError where a server fails."""
    metrics = chosen(order.metrics)
    if len(set(order.targets)) < len(order.targets):
        raise InvalidValue("A target is named twice.")
    for target in order.targets:
        if not target.startswith(("http://", "https://")) or not target.partition("#")[2]:
            raise InvalidValue(f"'{target}' is no served model; write http://HOST:PORT/v1#MODEL.")
    asked = examples.read(order.data / "test.jsonl" if order.data.is_dir() else order.data)
    if any(not example.messages for example in asked):
        raise InvalidValue(f"{order.data} holds plain texts; what is measured here needs messages.")
    figures: dict[str, dict[str, Figure]] = {}
    scores: dict[str, dict[str, Scores]] = {}
    for number, target in enumerate(order.targets):
        reporter.step(number / len(order.targets), target)
        texts, seconds = served.answers(target, asked, order)
        pairs = list(zip(texts, asked, strict=True))
        scores[target] = {
            name: np.array([metric(text, example.answer) for text, example in pairs])
            for name, metric in metrics.items()
        } | {"latency_seconds": np.array(seconds)}
        figures[target] = {name: figure(values, order.resamples, order.seed) for name, values in scores[target].items()}
    first = scores[order.targets[0]]
    comparisons = [
        compare(target, name, first[name], values, order.resamples, order.seed)
        for target in order.targets[1:]
        for name, values in scores[target].items()
    ]
    return Evaluation(targets=figures, comparisons=comparisons)
