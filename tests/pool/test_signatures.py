"""`cupola serve --require-signature`: what is not signed, or not any more, is not loaded."""

import subprocess
import sys
from pathlib import Path

import httpx

from server.environment import child_environment
from server.errors import EXIT_CONFIG
from server.models.adapters import AddedAdapter
from server.models.overlay import add_adapter
from server.models.registry import Registry
from server.models.signing import Artifact, sign, stored
from server.models.store import Store

from ..models.keys import write_keys
from ..serving import add_fake_model, pull, running_server


def ask(http: httpx.Client, model: str) -> tuple[int, str]:
    """The status, and the error's code and message."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    answer = http.post("/v1/chat/completions", json=body)
    error = answer.json().get("error", {})
    return answer.status_code, f"{error.get('code')}: {error.get('message')}"


def view(home: Path, name: str) -> Path:
    """The file that the engine opens."""
    store = Store(home)
    model, variants = Registry.load(home / "models.yaml").resolve(name)
    manifest = store.manifest(model, variants[0])
    assert manifest is not None
    return store.path(manifest)


def test_only_signed_models_are_loaded(tmp_path: Path) -> None:
    home, keys, others = tmp_path / "home", write_keys(tmp_path / "own"), write_keys(tmp_path / "others")
    names = ("signed", "later", "unsigned", "foreign", "changed", "grown")
    for number, name in enumerate(names, 10):
        add_fake_model(home, name, answer_tokens=number)  # of the same bytes they would be one file in the store
    for name in ("signed", "changed", "grown"):
        sign(Artifact(home / f"{name}.json"), keys.private)  # beside the file: the store takes it along
    sign(Artifact(home / "foreign.json"), others.private)
    pull(home, *names)
    (home / "signed.json.sig").unlink()
    changed = view(home, "changed")
    changed.chmod(0o600)
    changed.write_text(changed.read_text().replace("1", "2"))  # other numbers, the same size
    view(home, "grown").with_name("more.json").touch()
    with running_server(home, "--require-signature", str(keys.public)) as server, server.client() as http:
        assert ask(http, "signed")[0] == 200
        for name, reason in (
            ("unsigned", "is not signed"),
            ("foreign", "no signature by this key"),
            ("changed", "changed.json has changed"),
            ("grown", "more.json was not there"),
        ):
            status, error = ask(http, name)
            assert (status, error.partition(":")[0]) == (403, "signature_refused")
            assert reason in error
        assert ask(http, "later")[0] == 403
        store = Store(home)
        model, variants = Registry.load(home / "models.yaml").resolve("later")
        manifest = store.manifest(model, variants[0])
        assert manifest is not None
        sign(stored(home, manifest, store.path(manifest)), keys.private)
        assert ask(http, "later")[0] == 200
        assert {resident["id"] for resident in server.residents()} == {"signed@weightless", "later@weightless"}


def test_a_server_that_needs_no_signature_loads_everything(tmp_path: Path) -> None:
    add_fake_model(tmp_path / "home", "unsigned")
    pull(tmp_path / "home", "unsigned")
    with running_server(tmp_path / "home") as server, server.client() as http:
        assert ask(http, "unsigned")[0] == 200


def test_a_file_that_is_no_key_stops_the_start(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "own")
    command = [sys.executable, "-P", "-m", "server", "serve", "--port", "0", "--require-signature", str(keys.private)]
    environment = child_environment() | {"CUPOLA_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CONFIG
    assert "is no public key" in done.stderr


def test_an_adapter_has_to_be_signed_as_well(tmp_path: Path) -> None:
    home, keys = tmp_path / "home", write_keys(tmp_path / "own")
    add_fake_model(home, "base")
    sign(Artifact(home / "base.json"), keys.private)
    pull(home, "base")
    for salt, name in enumerate(("signed", "unsigned"), 1):
        (home / name).mkdir()
        (home / name / "adapter.json").write_text(f'{{"salt": {salt}}}')
        entry = AddedAdapter(name=name, model="base", files={"fake": f"{name}/adapter.json"})
        add_adapter(home / "models.yaml", entry)
    sign(Artifact(home / "signed" / "adapter.json"), keys.private)
    with running_server(home, "--require-signature", str(keys.public)) as server, server.client() as http:
        assert ask(http, "base+signed")[0] == 200
        status, error = ask(http, "base+unsigned")
        assert (status, error.partition(":")[0]) == (403, "signature_refused")
        assert ask(http, "base")[0] == 200
        (home / "signed" / "adapter.json").write_text('{"salt": 3}')
        assert ask(http, "base+signed")[0] == 200  # its worker has opened what was signed
        assert http.post("/admin/unload", json={"model": "base"}).status_code == 200
        status, error = ask(http, "base+signed")
        assert (status, error.partition(":")[0]) == (403, "signature_refused")
