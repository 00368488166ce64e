"""`cupola tune` on the real model: it measures, chooses, says so, and is believed afterwards."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ..cli.test_run import cupola
from ..serving import running_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


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
    # Far below the 2.5 times of a quiet device: only that one batches better is certain on a busy one.
    assert found["onnx-exact"]["decode"]["8"] > found["gguf-q4_1"]["decode"]["8"]
    ranking = json.loads(cupola(home, "show", "smollm2", "--json").stdout)["ranking"]
    assert ranking[0]["id"] == "smollm2-135m-instruct@onnx-exact"
    assert ranking[0]["measured"] == found["onnx-exact"]
    assert "measured here" in cupola(home, "doctor").stdout
    with running_server(home) as server, server.client() as http:
        assert http.get("/v1/models/smollm2").json()["engine"] == "onnx"
