"""Requests that schemathesis makes from the OpenAPI document, bent so that a good part of them reach an engine."""

import json
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.api.examples import EXAMPLES

Operation = APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WRITER, ENCODER = "fake", "vectors"
VECTOR_PATHS = {"/v1/embeddings", "/v1/rerank", "/api/embed", "/api/embeddings"}
DOWNLOADS = {"/openai/download", "/openai/upgrade"}
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
NESTED: list[Any] = []
for _ in range(200):
    NESTED = [NESTED]
ODD: list[Any] = [
    "", "\x00", "\ud800", "<|im_end|>", "a" * 70_000, 2**63, -(10**30), 1e308, float("nan"), float("inf"), -1, 0, True,
    None, [], {}, NESTED, {"": {"\x00": ""}}, ["\udfff"],
]  # fmt: skip


@dataclass(slots=True)
class Fuzz:
    """One run: what was called, what it was answered, and what did not fit the document."""

    url: str
    random: Random
    session: requests.Session = field(default_factory=requests.Session)
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    responses: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return sum(counter.total() for counter in self.statuses.values())

    @property
    def unreached(self) -> set[str]:
        """Operations that never succeeded: of those only refusals are known to be as documented."""
        return {name for name, counter in self.statuses.items() if not counter[200]}

    def report(self) -> str:
        """What was called how often, with which answers."""
        lines = [f"{name:45} {dict(sorted(counter.items()))}" for name, counter in self.statuses.items()]
        return "\n".join([*lines, f"{self.calls} calls", ""])

    def run(self, calls: int) -> None:
        """About so many calls, more to operations that take more."""
        schema = schemathesis.openapi.from_url(f"{self.url}/openapi.json")
        operations: list[Operation] = []
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), f"an operation that cannot be read: {found}"
            operations.append(found.ok())
        self._keep_response()
        operations.sort(key=lambda operation: str(operation.method) == "delete")  # what is deleted cannot be asked for
        weights = [_weight(operation) for operation in operations]
        for operation, weight in zip(operations, weights, strict=True):
            if weight:  # the first call is one that has to succeed, whatever chance makes of the others
                self._call(self._plain(operation))
            self._fuzz(operation, max(-(-calls * weight // sum(weights)), 1))

    def _plain(self, operation: Operation) -> Case:
        """An example of the document, or what names something that is there."""
        parameters = {parameter.name: "" for parameter in operation.path_parameters}
        if not operation.body:
            case = operation.Case(path_parameters=parameters)
            self._find(case)
            return case
        body = deepcopy(next(iter(EXAMPLES[operation.path].values())))
        if operation.path in DOWNLOADS:
            body["model"] = {"Name": WRITER}
        else:
            body["model"] = ENCODER if operation.path in VECTOR_PATHS else WRITER
        return operation.Case(path_parameters=parameters, body=body, media_type="application/json")

    def _keep_response(self) -> None:
        """One to retrieve, cancel and delete from the start: a short run might store none of its own."""
        body: dict[str, Any] = {"model": WRITER, "input": "Hello", "background": True, "max_output_tokens": 4}
        stored = self.session.post(f"{self.url}/v1/responses", json=body, timeout=60)
        assert stored.status_code == 200, stored.text
        self._remember(stored.content)

    def _fuzz(self, operation: Operation, calls: int) -> None:
        modes = [schemathesis.GenerationMode.POSITIVE]
        if _weight(operation):  # what takes nothing has nothing that could be wrong
            modes.append(schemathesis.GenerationMode.NEGATIVE)
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

        @seed(self.random.randrange(2**32))
        @settings(
            max_examples=calls,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # a failure is noted and the run goes on: there is nothing to shrink
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases)
        def call(case: Case) -> None:
            self._bend(case)
            # Bent, it is no longer what it was generated as; and the library's own validator takes no half characters.
            case._meta = None
            self._call(case)

        call()

    def _call(self, case: Case) -> None:
        name = f"{case.method} {case.operation.path}"
        # Written here, since the client refuses NaN.
        sent: dict[str, Any] = {"data": json.dumps(case.body).encode()} if isinstance(case.body, dict) else {}
        response = case.call(base_url=self.url, session=self.session, timeout=60, **sent)
        self.statuses.setdefault(name, Counter())[response.status_code] += 1
        if name == "POST /v1/responses" and response.status_code == 200:
            self._remember(response.content)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                assert isinstance(failure, Failure)
                key = f"{name} {response.status_code} {failure.title}"
                self.failures.setdefault(key, f"{failure.message}\n{case.as_curl_command()[:1500]}")

    def _bend(self, case: Case) -> None:
        """Change a case so that it may succeed: a model that is here, few tokens, a response that is stored."""
        once = not _weight(case.operation)  # and that call shall reach it
        known = once or self.random.random() < 0.8
        if known:
            self._find(case)
        if not isinstance(case.body, dict):
            return
        body: dict[str, Any] = case.body
        if case.operation.path in DOWNLOADS:
            if isinstance(body.get("model"), dict) and isinstance(body["model"].get("Name"), str):
                body["model"]["Name"] = self.random.choice([WRITER, "no-such-model"])
            if known:  # a generated body is rarely right
                case.body = {"model": {"Name": self.random.choice([WRITER, "no-such-model"])}}
            return
        if case.operation.path == "/api/pull":
            self._keep_from_downloading(case, body, known=known)
            return
        if known:
            case.headers.pop("prefer", None)  # the model loads once, and is waited for
            body = case.body = self._nearly_right(case.operation.path, body)
            body["model"] = ENCODER if case.operation.path in VECTOR_PATHS else WRITER
        if not case.operation.path.startswith("/admin/"):
            self._bound(body)
        if body and self.random.random() < 0.2:
            body[self.random.choice([*body])] = self.random.choice(ODD)

    def _keep_from_downloading(self, case: Case, body: dict[str, Any], *, known: bool) -> None:
        """Any other name might be one of models.yaml, which would be gigabytes from the network."""
        for name in ("model", "name"):
            if isinstance(body.get(name), str):
                body[name] = self.random.choice([WRITER, "no-such-model"])
        if known:
            case.body = {"model": self.random.choice([WRITER, "no-such-model"]), "stream": False}

    def _find(self, case: Case) -> None:
        """Let a path name something that is there."""
        if self.responses and "response_id" in case.path_parameters:
            case.path_parameters["response_id"] = self.random.choice(self.responses)
        if "name" in case.path_parameters:
            case.path_parameters["name"] = self.random.choice([WRITER, ENCODER])
        if "device" in case.path_parameters:
            case.path_parameters["device"] = -1  # the one of a device without a GPU
        if case.method == "POST" and not case.operation.body:
            case.headers["Content-Type"] = "application/json"  # without it a web page could send the request

    def _nearly_right(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Mostly an example of the document with a few fields of a generated body: more than one wrong field tells no
        more than one, and generated bodies rarely have all of them right."""
        if self.random.random() < 0.25:
            return body
        fields = self.random.sample([*body], min(len(body), self.random.randint(0, 2)))
        chosen: dict[str, Any] = deepcopy(self.random.choice([*EXAMPLES[path].values()]))
        return chosen | {name: body[name] for name in fields}

    def _bound(self, body: dict[str, Any]) -> None:
        """Few tokens, where the request would be obeyed at all."""
        for name in ("n", "best_of"):
            if isinstance(body.get(name), int) and body[name] > 2:
                body[name] = 2
        limit = self.random.randint(1, 8)  # one for all: a request whose limits differ is refused
        for name in LIMITS:
            if name not in body or (isinstance(body[name], int) and body[name] > 8):
                body[name] = limit
        options = body.get("options")
        if isinstance(options, dict) and isinstance(options.get("num_predict"), int):
            options["num_predict"] = min(options["num_predict"], 8) if options["num_predict"] >= 0 else 8

    def _remember(self, content: bytes) -> None:
        """The id of a response that is kept, to ask for it later. A stream has none of use here."""
        if content.startswith(b"{"):
            self.responses.append(json.loads(content)["id"])


def _weight(operation: Operation) -> int:
    if operation.body:
        return 10
    return 5 if operation.path_parameters or operation.query else 0
