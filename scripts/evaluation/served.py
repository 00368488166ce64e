"""Answers of a served model: any OpenAI-compatible address."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from server.errors import CupolaError

from ..examples import Example
from .order import Order

ATTEMPTS = 6
BUSY = {429, 503}


def answers(target: str, examples: list[Example], order: Order) -> tuple[list[str], list[float]]:
    """Texts, and seconds a request without its waits between attempts. `target` is URL#model. Raises CupolaError."""
    url, _, model = target.partition("#")
    with (
        httpx.Client(timeout=300, trust_env=False) as client,
        ThreadPoolExecutor(order.concurrency) as pool,
    ):
        try:
            pairs = list(pool.map(lambda example: _ask(client, url.rstrip("/"), model, example, order), examples))
        finally:
            pool.shutdown(cancel_futures=True)
    return [text for text, _ in pairs], [seconds for _, seconds in pairs]


def _ask(client: httpx.Client, url: str, model: str, example: Example, order: Order) -> tuple[str, float]:
    messages = [{"role": turn.role, "content": turn.content} for turn in example.prompt]
    body = {
        "model": model,
        "messages": messages,
        "temperature": 0,
        "seed": order.seed,
        "max_tokens": order.max_tokens,
    }
    complaint = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(min(8.0, 0.25 * 2**attempt))
        start = time.perf_counter()
        try:
            response = client.post(f"{url}/chat/completions", json=body)
        except httpx.TransportError as error:
            complaint = str(error)
            continue
        seconds = time.perf_counter() - start
        if response.status_code in BUSY:
            complaint = f"status {response.status_code}"
            continue
        if response.is_error:
            raise CupolaError(f"{url} refused a request with status {response.status_code}: {response.text[:200]}")
        try:
            return str(response.json()["choices"][0]["message"]["content"] or ""), seconds
        except (ValueError, LookupError, TypeError):
            raise CupolaError(f"{url} answered with something that is no chat completion.") from None
    raise CupolaError(f"{url} did not answer in {ATTEMPTS} attempts: {complaint}.")
