"""Tasks of lm-evaluation-harness, asked of a target through its server."""

from converters.report.tasks import Score, TaskOrder, checked_folder, scores
from server.errors import InvalidValue

from . import artifact
from .found import Figure
from .order import Order

Z = 1.96  # standard errors to each side of a 95 % interval


def check(order: Order) -> None:
    """Before anything is asked. Raises InvalidValue, and CupolaError without the harness."""
    if not order.tasks:
        return
    checked_folder(order.tasks_dir)
    if order.api_key_file is not None:
        raise InvalidValue("Tasks are asked of servers without a key; leave --api-key-file out.")


def figures(target: str, order: Order) -> tuple[dict[str, Figure], dict[str, str]]:
    """By TASK.METRIC, or why there are none. They are asked anew each time. Raises CupolaError."""
    if not order.tasks:
        return {}, {}
    match order.kind(target):
        case "checkpoint":
            return {}, dict.fromkeys(order.tasks, "tasks are asked through a server; convert it first")
        case "served":
            found = _scores(target, order)
        case "artifact":
            with artifact.serving(artifact.find(target), order.startup) as (url, _):
                found = _scores(url, order)
    return {f"{score.task}.{score.metric}": _figure(score) for score in found}, {}


def _scores(target: str, order: Order) -> list[Score]:
    url, _, model = target.partition("#")
    folder = checked_folder(order.tasks_dir)
    return scores(TaskOrder(url.rstrip("/"), model, list(order.tasks), str(folder), order.limit))


def _figure(score: Score) -> Figure:
    """Its interval is by the harness's own standard error."""
    if score.stderr is None:
        return Figure(value=score.value, n=score.count)
    low, high = score.value - Z * score.stderr, score.value + Z * score.stderr
    return Figure(value=score.value, low=low, high=high, n=score.count)
