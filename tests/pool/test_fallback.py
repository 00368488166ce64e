"""A variant that cannot be loaded gives way to the next, over the API."""

import json
from pathlib import Path
from typing import Any

import yaml

from ..serving import pull, running_server

ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def two_variants(home: Path, name: str, **options: dict[str, Any]) -> None:
    """A model whose variants are fakes with these options, in this order."""
    variants = []
    for variant, fake in options.items():
        artifact = home / f"{name}-{variant}.json"
        artifact.write_text(json.dumps(fake))
        variants.append({"name": variant, "format": "fake", "source": {"type": "file", "path": str(artifact)}})
    overlay = home / "models.yaml"
    content = yaml.safe_load(overlay.read_text()) if overlay.exists() else {"models": []}
    content["models"].append({"name": name, "licence": "MIT", "context_length": 512, "variants": variants})
    overlay.write_text(yaml.safe_dump(content))
    pull(home, *(f"{name}@{variant}" for variant in options))


def test_the_next_variant_serves(tmp_path: Path) -> None:
    two_variants(tmp_path, "limping", first={"fail_load": "The weights are bent."}, second={})
    two_variants(tmp_path, "lame", first={"fail_load": "Bent."}, second={"fail_load": "Broken."})
    with running_server(tmp_path) as server, server.client() as http:
        for _ in range(2):
            answer = http.post("/v1/chat/completions", json={**ASK, "model": "limping"})
            assert answer.status_code == 200
            assert answer.json()["system_fingerprint"].endswith("-second")
        stream = http.post("/v1/chat/completions", json={**ASK, "model": "limping", "stream": True}).text
        assert '-second"' in stream
        assert '-first"' not in stream
        refused = http.post("/v1/chat/completions", json={**ASK, "model": "limping@first"})
        assert refused.status_code == 500
        assert "The weights are bent." in refused.json()["error"]["message"]
        nothing = http.post("/v1/chat/completions", json={**ASK, "model": "lame"})
        assert nothing.json()["error"]["code"] == "model_load_failed"
        told = nothing.json()["error"]["message"]
        assert told.startswith("No variant of lame could be loaded.\n")
        assert "lame@first: Bent." in told
        assert "lame@second: Broken." in told
        assert [resident["id"] for resident in server.residents()] == ["limping@second"]
