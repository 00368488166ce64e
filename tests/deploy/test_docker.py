"""The Dockerfile, held to rules and replayed step by step: a fresh environment, served from among decoys."""

import fnmatch
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from server.environment import child_environment

from .dockerfile import Instruction, last, parse, problems

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "Dockerfile").read_text()
DECOY = "raise SystemExit('a decoy was imported')\n"
MOST_MEGABYTES = 330
GOOD = """
ARG BASE=python:3.12.1-slim
FROM ${BASE}
USER 10:10
HEALTHCHECK CMD ["a"]
ENTRYPOINT ["b"]
CMD ["c"]
"""


def test_the_dockerfile_keeps_the_rules() -> None:
    assert list(problems(TEXT)) == []


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("3.12.1-slim", "latest", "not pinned"),
        ("python:3.12.1-slim", "python", "not pinned"),
        ("USER 10:10", "USER root", "USER"),
        ("USER 10:10", "USER 0:0", "USER"),
        ("USER 10:10\n", "", "USER"),
        ('CMD ["c"]', "CMD serve", "CMD needs a shell"),
        ('ENTRYPOINT ["b"]', 'ENTRYPOINT ["/bin/sh", "-c", "b"]', "ENTRYPOINT needs a shell"),
        ('HEALTHCHECK CMD ["a"]', "HEALTHCHECK --interval=9s CMD curl -f localhost", "HEALTHCHECK needs a shell"),
        ('HEALTHCHECK CMD ["a"]\n', "", "no HEALTHCHECK"),
        ("USER", "ADD x /x\nUSER", "ADD"),
        ("USER", "COPY . /app\nUSER", "COPY ."),
        ("USER", "ENV CUPOLA_API_KEY=abc\nUSER", "secret"),
        ("USER", "RUN apt-get install \\\n  gcc\nUSER", "build tools"),
        ("USER", "RUN curl example.com | sh\nUSER", "straight into"),
        ("USER", "WORKDIR app\nUSER", "relative"),
    ],
)
def test_each_rule_notices(good: str, bad: str, said: str) -> None:
    assert list(problems(GOOD)) == []
    assert any(said in problem for problem in problems(GOOD.replace(good, bad, 1)))


def ignored(place: str) -> bool:
    """Whether .dockerignore keeps a file out: the last pattern that matches it, or a folder above it, decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = Path(place).parts
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        names = (pattern, pattern.removeprefix("**/"))
        if any(
            fnmatch.fnmatchcase(path, name) or fnmatch.fnmatchcase(path, f"*/{name}")
            for path in above
            for name in names
        ):
            out = not line.startswith("!")
    return out


def test_the_context_is_what_the_image_needs() -> None:
    copied = [i for i in parse(TEXT) if i.keyword == "COPY" and not any(f.startswith("--from") for f in i.flags)]
    for source in (word for i in copied for word in i.value.split()[:-1]):
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    for place in (
        ".git/config",
        "tests/conftest.py",
        "keys.json",
        "deploy/secrets/key",
        ".venv/bin/python",
        "docs/api.md",
    ):
        assert ignored(place), place
    assert ignored("server/api/__pycache__/gate.cpython-312.pyc")
    assert not ignored("server/api/limits.py")


def test_what_the_wheel_contains_is_copied() -> None:
    """A new package in pyproject.toml that the image lacks would stop its build, or worse, not."""
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    words = {word for i in parse(TEXT) if i.keyword == "COPY" for word in i.value.split()}
    assert set(packages) <= words


@dataclass(frozen=True, slots=True)
class Image:
    """Where the steps were run: `root` stands for the image's /."""

    root: Path
    instructions: list[Instruction]

    def placed(self, text: str) -> str:
        """The text with the image's folders where they are here."""
        for folder in ("/opt/cupola", "/models", "/src"):
            text = text.replace(folder, f"{self.root}{folder}")
        return text

    def argv(self, *keywords: str) -> list[str]:
        words = []
        for keyword in keywords:
            instruction = last(self.instructions, keyword)
            assert instruction is not None
            words += instruction.argv or []
        return [self.placed(word) for word in words]

    def environment(self, **settings: str) -> dict[str, str]:
        declared = last(self.instructions, "ENV")
        assert declared is not None
        pairs = dict(word.split("=", 1) for word in declared.value.split())
        return {name: self.placed(value) for name, value in pairs.items()} | {"HOME": str(self.root)} | settings

    @property
    def site_packages(self) -> Path:
        (folder,) = (self.root / "opt/cupola/lib").glob("python3*/site-packages")
        return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The builder's steps, run here. What they install comes from pip's cache of wheels where it is there."""
    made = Image(tmp_path_factory.mktemp("image"), parse(TEXT))
    workdir = made.root / "src"
    for instruction in (i for i in made.instructions if i.stage == 0):
        if instruction.keyword == "WORKDIR":
            assert instruction.value == "/src"
            workdir.mkdir()
        elif instruction.keyword == "COPY":
            *sources, target = instruction.value.split()
            for source in sources:
                place = workdir / target / (source if len(sources) > 1 else "")
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, place)
        elif instruction.keyword == "RUN":
            (made.root / "opt").mkdir(exist_ok=True)
            shell = ["/bin/sh", "-euc", made.placed(instruction.value)]
            path = f"{Path(sys.executable).parent}:{os.defpath}"
            result = subprocess.run(
                shell,
                cwd=workdir,
                env=dict(os.environ) | {"PATH": path, "EXTRA": "cpu"},  # noqa: TID251
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stdout + result.stderr
        else:
            assert instruction.keyword in ("FROM", "ARG"), instruction
    return made


@pytest.mark.timeout(400)
def test_the_image_is_small_and_has_no_build_tools(image: Image) -> None:
    size = subprocess.run(["du", "-sm", image.site_packages], capture_output=True, text=True, check=True)
    assert int(size.stdout.split()[0]) <= MOST_MEGABYTES
    names = {path.name.partition("-")[0].lower() for path in image.site_packages.glob("*.dist-info")}
    assert {"cupola", "onnxruntime", "pip"} <= names
    assert not names & {"setuptools", "wheel", "hatchling", "pytest", "torch", "llama_cpp_python"}
    assert not list(image.site_packages.rglob("tests"))
    assert list((image.site_packages / "server").rglob("*.pyc"))


def test_nothing_else_is_taken_into_the_final_stage(image: Image) -> None:
    """An environment is bound to its path, so it has to be copied to where it was made."""
    copies = [i for i in image.instructions if i.stage == 1 and i.keyword == "COPY"]
    assert [i.value for i in copies] == ["/opt/cupola /opt/cupola", "/models /models"]
    assert all("--from=builder" in i.flags for i in copies)
    assert (image.root / "models").is_dir()
    user = last(image.instructions, "USER")
    assert user is not None
    assert f"--chown={user.value}" in copies[1].flags


@pytest.fixture
def stand(tmp_path: Path) -> Path:
    for package in ("server", "scripts", "converters"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(DECOY)
    return tmp_path


@pytest.fixture
def served(image: Image, stand: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*image.argv("ENTRYPOINT", "CMD"), "--port", "0"],
        cwd=stand,
        env=image.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield next(word for word in process.stdout.readline().split() if word.startswith("http://")), process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def check_health(image: Image, stand: Path, url: str) -> int:
    port = url.rpartition(":")[2]
    return subprocess.run(
        image.argv("HEALTHCHECK"), cwd=stand, env=image.environment(CUPOLA_PORT=port), capture_output=True, check=False
    ).returncode


@pytest.mark.timeout(400)
def test_the_image_serves_and_writes_nowhere(
    image: Image, stand: Path, served: tuple[str, subprocess.Popen[str]]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (image.root / "opt").rglob("*")}
    url, process = served
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    with httpx.Client(trust_env=False, timeout=60) as http:
        answer = http.post(f"{url}/v1/chat/completions", json=body)
    assert answer.json()["usage"]["completion_tokens"] > 0
    assert check_health(image, stand, url) == 0
    process.terminate()
    assert process.wait(30) in (0, -15)
    assert check_health(image, stand, url) == 1
    assert before == {path: path.stat().st_mtime_ns for path in (image.root / "opt").rglob("*")}


@pytest.mark.timeout(400)
def test_the_image_converts_models(image: Image, stand: Path) -> None:
    """What was trimmed is not needed: the package `onnx` is whole enough for the converters."""
    command = [
        str(image.root / "opt/cupola/bin/python"),
        "-P",
        "-c",
        "import onnx.checker, onnx.helper, converters.graph",
    ]
    subprocess.run(command, cwd=stand, env=image.environment() | child_environment(), check=True)


def test_the_image_refuses_the_network_without_a_key(image: Image, stand: Path) -> None:
    result = subprocess.run(
        image.argv("ENTRYPOINT", "CMD"),
        cwd=stand,
        env=image.environment(CUPOLA_HOST="0.0.0.0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 78
    assert "0.0.0.0" in result.stderr
