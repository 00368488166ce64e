"""The table of a case study: what the first target has, and what share of it the others keep."""

from dataclasses import dataclass

from .found import Comparison, Evaluation, Figure, Target

TITLES = {
    "latency_seconds": "Inference time, s",
    "latency_p50_seconds": "Inference time, median, s",
    "latency_p95_seconds": "Inference time, 95th percentile, s",
    "first_token_seconds": "First token, s",
    "tokens_per_second": "Tokens/s",
    "memory_bytes": "Memory, MB",
    "size_bytes": "Size on disk, MB",
    "exact": "Exact match",
    "exact_spaces": "Exact but for spaces",
    "exact_words": "Exact but for case and full stop",
    "exact_json": "Exact as JSON",
    "json_valid": "Valid JSON",
    "json_schema": "Follows the schema",
    "accuracy": "Accuracy",
    "precision": "Precision, macro",
    "recall": "Recall, macro",
    "f1": "F1, macro",
    "bleu": "BLEU",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "perplexity": "Perplexity (lower is better)",
}
COSTS = ("latency_seconds", "memory_bytes", "size_bytes")
TIMES = ("latency_p50_seconds", "latency_p95_seconds", "first_token_seconds", "tokens_per_second")
FRACTIONS = set(TITLES) - {*COSTS, *TIMES, "perplexity"}
MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: a cell for each target."""

    title: str
    cells: list[str]


def rows(evaluation: Evaluation) -> list[Row]:
    """Costs first, then every quality, then the rest of the times."""
    first = evaluation.targets[0]
    names = dict.fromkeys(name for target in evaluation.targets for name in target.metrics)
    quality = [name for name in names if name not in {*COSTS, *TIMES}]
    shown = [*COSTS, *quality, *(name for name in TIMES if name in names)]
    ratios = {(one.target, one.metric): one for one in evaluation.comparisons}
    return [
        Row(
            title(name),
            [_cell(target, first, name, ratios.get((target.target, name))) for target in evaluation.targets],
        )
        for name in shown
        if any(_value(target, name) is not None for target in evaluation.targets)
    ]


def title(name: str) -> str:
    """What a person reads; a task of the harness keeps its name."""
    return TITLES.get(name, name)


def _value(target: Target, name: str) -> float | None:
    if name == "memory_bytes":
        return target.memory_bytes
    if name == "size_bytes":
        return target.size_bytes
    found = target.metrics.get(name)
    return None if found is None else found.value


def _cell(target: Target, first: Target, name: str, comparison: Comparison | None) -> str:
    value, base = _value(target, name), _value(first, name)
    if value is None:
        return MISSING
    figure = target.metrics.get(name)
    said = shown(name, figure) if figure is not None else f"{value / 1e6:,.0f}"
    if target is first or base is None:
        return said
    if comparison is not None and comparison.ratio is not None:
        return f"{said}: {_share(comparison)}"
    return f"{said}: {value / base:.1%}" if figure is None and base > 0 else said


def _share(comparison: Comparison) -> str:
    assert comparison.ratio is not None
    if comparison.ratio_low is None or comparison.ratio_high is None:
        return f"{comparison.ratio:.1%}"
    return f"{comparison.ratio:.1%} [{comparison.ratio_low:.1%}, {comparison.ratio_high:.1%}]"


def shown(name: str, figure: Figure) -> str:
    """A figure with its interval, shares as percentages."""
    style = ".1%" if name in FRACTIONS else ".3g"
    said = format(figure.value, style)
    if figure.low is None or figure.high is None:
        return said
    return f"{said} [{figure.low:{style}}, {figure.high:{style}}]"
