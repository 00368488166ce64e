"""The built wheel, installed into an empty environment, serves from a folder full of decoys."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from server.environment import child_environment

ROOT = Path(__file__).parent.parent
DECOY = "raise SystemExit('a decoy was imported')\n"


@pytest.mark.timeout(300)
def test_the_wheel_serves_among_decoys(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "server/models.yaml" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, capture_output=True)
    stand = tmp_path / "stand"
    for package in ("server", "scripts", "converters"):
        (stand / package).mkdir(parents=True)
        (stand / package / "__init__.py").write_text(DECOY)
    process = subprocess.Popen(
        [tmp_path / "env" / "bin" / "cupola", "serve", "--port", "0"],
        cwd=stand,
        env=child_environment() | {"CUPOLA_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        with httpx.Client(trust_env=False, timeout=60) as http:
            answer = http.post(f"{url}/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] > 0
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
