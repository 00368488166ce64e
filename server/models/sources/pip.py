"""What pip knows: where a wheel is, and how this machine reaches its index.

pip is asked rather than imitated, so that its configuration (index mirrors, find-links, certificates, proxy,
credentials in the index address) holds here as well. Nothing is installed: `--dry-run --report` only plans.
"""

import ast
import json
import netrc
import re
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ...errors import SourceError, SourceNotFound, SourceUnreachable

_PLAN = "install --dry-run --ignore-installed --no-deps --only-binary=:all: --ignore-requires-python".split()
_QUIET = "--quiet --no-input --disable-pip-version-check --retries 2 --report -".split()
_USAGE = 2  # pip's exit status for an option it does not know


@dataclass(frozen=True)
class Wheel:
    """A wheel that pip found."""

    url: str
    sha256: str | None


@dataclass(frozen=True)
class PipConfiguration:
    """How pip reaches its indexes, as far as fetching one file from there needs it."""

    indexes: tuple[str, ...] = ()
    trusted_hosts: frozenset[str] = frozenset()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None

    @classmethod
    def parse(cls, text: str) -> "PipConfiguration":
        """From the output of `pip config list`: lines `section.key='value'`. The environment wins, then [install]."""
        found: dict[str, str] = {}
        entries = [line.partition("=") for line in text.splitlines()]
        for section in ("global.", "install.", ":env:."):
            for key, _, value in entries:
                if key.startswith(section):
                    found[key.removeprefix(section)] = str(ast.literal_eval(value))
        indexes = f"{found.get('index-url', '')} {found.get('extra-index-url', '')} {found.get('find-links', '')}"
        return cls(
            tuple(indexes.split()),
            frozenset(found.get("trusted-host", "").split()),
            found.get("cert"),
            found.get("client-cert"),
            found.get("proxy"),
        )

    def credentials(self, url: str) -> tuple[str, str] | None:
        """User and password for a wheel's address: those of an index on the same host, else those of ~/.netrc."""
        wanted = urlsplit(url)
        for index in map(urlsplit, self.indexes):
            same = (index.scheme, index.hostname, index.port) == (wanted.scheme, wanted.hostname, wanted.port)
            if same and index.username is not None:
                return unquote(index.username), unquote(index.password or "")
        try:
            found = netrc.netrc().authenticators(wanted.hostname or "")
        except (OSError, netrc.NetrcParseError):
            return None
        return (found[0], found[2] or "") if found else None

    def trusts(self, url: str) -> bool:
        """Whether pip was told not to check this host's certificate."""
        host = urlsplit(url)
        return not self.trusted_hosts.isdisjoint({host.hostname or "", host.netloc.rpartition("@")[2]})


def read_configuration() -> PipConfiguration:
    """pip's configuration files and environment."""
    return PipConfiguration.parse(_pip("config", "list").stdout)


def find_wheels(requirements: list[str]) -> dict[str, Wheel]:
    """The wheel of each `package==version`, keyed by the normalized name of the package.

    Raises SourceNotFound, or SourceUnreachable where pip could not talk to its index.
    """
    # fast-deps spares a whole download where an index does not serve a wheel's metadata apart; it may go away in a
    # later pip, which then says so with its usage status.
    answer = _pip(*_PLAN, *_QUIET, "--use-feature=fast-deps", *requirements)
    if answer.returncode == _USAGE:
        answer = _pip(*_PLAN, *_QUIET, *requirements)
    if answer.returncode:
        raise _refusal(requirements, answer.stderr)
    try:
        planned = json.loads(answer.stdout)["install"]
        found = [(entry["metadata"], entry["download_info"]) for entry in planned]
        wheels = [(meta["name"], info["url"], info["archive_info"]) for meta, info in found]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"pip's report is not understood ({error!r}); update pip and run again.") from None
    return {normalized(name): Wheel(url, _sha256(archive)) for name, url, archive in wheels}


def normalized(package: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _sha256(archive: dict[str, dict[str, str]]) -> str | None:
    return archive.get("hashes", {}).get("sha256")


def _pip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    # -P: no module of the folder the user stands in may pose as pip.
    command = [sys.executable, "-P", "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)


def _refusal(requirements: list[str], complaint: str) -> SourceError:
    """pip has one exit status for everything; only its retries tell a dead network from an unknown package."""
    wanted = ", ".join(requirements)
    if "Retrying (" in complaint:
        return SourceUnreachable(f"pip cannot reach its package index for {wanted}; check the network and pip's index.")
    errors = [line for line in complaint.splitlines() if line.startswith("ERROR: ")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else "no reason given"
    return SourceNotFound(f"pip finds no wheel of {wanted} ({reason}); check the version and pip's index.")
