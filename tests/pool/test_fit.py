"""A model that does not fit in memory is refused before an engine tries."""

from pathlib import Path

import pytest

from server.pool.loader import OVERHEAD

from ..serving import running_server


@pytest.mark.real
def test_a_model_that_does_not_fit_says_both_numbers(real_home: Path) -> None:
    with running_server(real_home, slots="256", context="1000000") as server, server.client() as http:
        answer = http.post("/v1/completions", json={"model": "smollm2", "prompt": "Hello", "max_tokens": 1})
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error["code"] == "not_enough_memory"
        # Q4_1 weights, and for each token 30 layers of 3 heads of 64 numbers of 2 bytes, twice.
        needed = 98_362_432 + 256 * 8192 * 30 * 3 * 64 * 2 * 2 + OVERHEAD
        assert f"{needed:,} bytes" in error["message"]
        assert "are free" in error["message"]
        assert http.get("/health/live").status_code == 200
        assert server.residents() == []
