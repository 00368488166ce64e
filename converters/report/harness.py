"""lm-evaluation-harness in a process of its own: `python -P -m converters.report.harness`.

Reads a `TaskOrder`, a line of JSON, and prints `Scored` or `Refused`. It asks one server and nobody else.
"""

import sys
import threading
from typing import Any

import msgspec

from ..reporting import end_with_parent
from .orders import Refused
from .tasks import EXTRA, Score, Scored, TaskOrder

CONCURRENT = 4  # requests on their way at once
CHAT = "generate_until"  # the kind of task that goes through the model's chat template


class ServerTokenizer:
    """The tokens of a text as the server of the model counts them, by vLLM's `/tokenize`."""

    eos_token = bos_token = None
    eos_token_id = bos_token_id = None  # a server does not say which they are, so no task may need a first token

    def __init__(self, url: str, model: str) -> None:
        import httpx

        self._client = httpx.Client(base_url=url.removesuffix("/").removesuffix("/v1"), timeout=300, trust_env=False)
        self._model = model

    def encode(self, text: str) -> list[int]:
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        tokens: list[int] = self._client.post("/tokenize", json=body).raise_for_status().json()["tokens"]
        return tokens


def run(order: TaskOrder) -> Scored | Refused:
    """Every metric of every task."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=order.folder, include_defaults=False)
    unknown = [name for name in order.tasks if name not in manager.all_tasks]
    if unknown:
        known = ", ".join(manager.all_tasks) or "none"
        return Refused(f"There is no task {', '.join(unknown)} in {order.folder}; there are: {known}.")
    kinds = {name: task.get_config("output_type") for name, task in manager.load(order.tasks)["tasks"].items()}
    found: list[Score] = []
    for chat in (False, True):
        names = [name for name, kind in kinds.items() if (kind == CHAT) is chat]
        if names:
            found += _scores(order, names, manager, chat=chat)
    return Scored(found)


def _scores(order: TaskOrder, names: list[str], manager: Any, *, chat: bool) -> list[Score]:
    from lm_eval.evaluator import simple_evaluate

    results = simple_evaluate(
        _client(order, chat=chat),
        tasks=names,
        task_manager=manager,
        limit=order.limit,
        apply_chat_template=chat,
        log_samples=False,
    )
    return [
        Score(
            name, metric.removesuffix(",none"), float(value), _number(row.get(_stderr(metric))), _count(results, name)
        )
        for name, row in results["results"].items()
        for metric, value in row.items()
        if "," in metric and "_stderr," not in metric and isinstance(value, (int, float))
    ]


def _client(order: TaskOrder, *, chat: bool) -> Any:
    from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

    common = {"model": order.model, "num_concurrent": CONCURRENT, "max_length": order.context}
    if chat:
        return LocalChatCompletion(base_url=f"{order.url}/chat/completions", **common)
    base = f"{order.url}/completions"
    if order.tokenizer is not None:
        return LocalCompletionsAPI(base_url=base, tokenizer_backend="huggingface", tokenizer=order.tokenizer, **common)
    client = LocalCompletionsAPI(base_url=base, tokenizer_backend=None, **common)
    client.tokenizer = ServerTokenizer(order.url, order.model)
    client.tokenizer_backend, client.tokenized_requests = "remote", True
    return client


def _stderr(metric: str) -> str:
    name, _, rule = metric.partition(",")
    return f"{name}_stderr,{rule}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None  # "N/A" where it is not estimated


def _count(results: Any, name: str) -> int:
    return int(results["n-samples"][name]["effective"])


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=TaskOrder)
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    try:
        import lm_eval.models.openai_completions  # noqa: F401
    except ImportError:
        answer: Scored | Refused = Refused(EXTRA)
    else:
        answer = run(order)
    sys.stdout.write("\n" + msgspec.json.encode(answer).decode() + "\n")


if __name__ == "__main__":
    main()
