"""`cupola config`: effective values and where they come from."""

import json
from pathlib import Path

from server.settings import Settings

from .test_run import cupola

KEY = "a-key-that-nobody-must-see"


def test_values_and_their_places(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"hosts: [edge.local]\napi_key: {KEY}\nlog_prompts: yes\nhf_endpoint: https://me:{KEY}@hub.example\n"
    )
    done = cupola(tmp_path, "config", "--port", "4000", "--json", CUPOLA_KEEP_ALIVE="5m")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["settings"]
    assert set(rows) == set(Settings.model_fields)
    assert rows["hosts"] == {"value": ["edge.local"], "source": "file", "place": f"{path}, line 1"}
    assert rows["log_prompts"] == {"value": True, "source": "file", "place": f"{path}, line 3"}
    assert rows["hf_endpoint"]["value"] == "https://********@hub.example"
    assert rows["keep_alive"] == {"value": 300.0, "source": "environment", "place": "CUPOLA_KEEP_ALIVE"}
    assert rows["port"] == {"value": 4000, "source": "flag", "place": "--port"}
    assert rows["slots"] == {"value": 8, "source": "default", "place": None}
    assert KEY not in done.stdout


def test_the_table_has_a_line_for_each_setting(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"api_key: {KEY}\npinned: a, b\n")
    done = cupola(tmp_path, "config", "--config", str(file))
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(lines) == set(Settings.model_fields)
    assert lines["pinned"].split() == ["pinned", "a,", "b", *f"{file}, line 2".split()]
    assert lines["slots"].split() == ["slots", "8", "default"]
    assert KEY not in done.stdout


def test_an_error_is_one_line_and_a_status(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("slots: 1\nprot: 80\n")
    for command in ("config", "serve", "ps"):
        done = cupola(tmp_path, command)
        assert done.returncode == 78
        assert done.stderr.startswith(
            f"Error: {tmp_path}/config.yaml, line 2: unknown setting 'prot'. Did you mean port? Known: "
        )
        assert done.stderr.count("\n") == 1
