"""`cupola tune` on the real model: it measures, chooses, says so, and is believed afterwards."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ..cli.test_run import cupola
from ..serving import running_server

pytestmark = [pytest.mark.alone, pytest.mark.real, pytest.mark.timeout(400)]


@pytest.fixture
def home(onnx_home: Path, tmp_path: Path) -> Path:
    """A copy of a home, so that what is found here decides nothing elsewhere."""
    return Path(shutil.copytree(onnx_home, tmp_path / "home", copy_function=os.link))


def test_what_is_fastest_and_close_enough_is_chosen(home: Path) -> None:
    done = cupola(home, "tune", "smollm2", "--no-create", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["variant"]: one for one in json.loads(done.stdout)["measurements"]}
    assert found.keys() == {"gguf-q4_1", "onnx-exact"}
    assert all(one["quality"]["kl_mean"] <= 0.02 for one in found.values())
    assert all(one["quality"]["top1"] >= 0.94 for one in found.values())
    # Which of them is faster is the device's to say; that what is measured is believed is ours.
    first = json.loads(done.stdout)["measurements"][0]
    ranking = json.loads(cupola(home, "show", "smollm2", "--json").stdout)["ranking"]
    assert ranking[0]["id"] == f"smollm2-135m-instruct@{first['variant']}"
    assert ranking[0]["measured"] == first
    assert "measured: " in cupola(home, "doctor").stdout
    with running_server(home) as server, server.client() as http:
        assert http.get("/v1/models/smollm2").json()["engine"] == first["backend"]
