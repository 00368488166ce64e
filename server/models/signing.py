"""Signatures of artifacts: OpenSSF model-signing with a key pair, offline (extra `signing`).

    FOLDER/model.sig               of every file of a folder but itself
    model.gguf.sig                 of one GGUF file; a folder's model.sig covers it too
    $CUPOLA_HOME/signatures/...    of what is in the store and came without one

A check runs in a program of its own, `python -P -m server.models.signing`: the library brings 70 MB of others along
and half a second of imports, which neither a server nor a worker needs afterwards. Nothing is remembered between
checks: size and date of a file say nothing against somebody who wants to deceive, and a load reads the same bytes
anyway.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..environment import child_environment
from ..errors import ConfigError, CupolaError, InvalidValue, SignatureRefused
from .files import hash_file, private_folder, storage_errors
from .lineage import RECORD
from .manifest import Manifest

SIGNATURE = "model.sig"
LARGEST = 16 << 20  # bytes of a signature: it names every file of an artifact
_MISSING = "Signatures need the package model-signing. Install it with: pip install 'cupola[signing]'"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What an engine opens. `stored`: in a view of the store, where everything in the folder counts."""

    path: Path
    stored: bool = False
    kept: Path | None = None  # where the store keeps a signature that did not come with it

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def signatures(self) -> list[Path]:
        """Those that there are."""
        beside = self.path / SIGNATURE if self.path.is_dir() else self.path.with_name(f"{self.path.name}.sig")
        places = [beside, *([] if self.path.is_dir() or self.stored else [self.folder / SIGNATURE])]
        return [place for place in (*places, self.kept) if place is not None and place.is_file()]

    @property
    def files(self) -> list[Path]:
        """What has to be signed."""
        if self.path.is_file() and not self.stored:
            return [self.path]
        own = {SIGNATURE} if self.path.is_dir() else {f"{self.path.name}.sig"}
        found = (path for path in self.folder.rglob("*") if not path.is_dir())
        return sorted(path for path in found if path.relative_to(self.folder).as_posix() not in own)

    def may_lack(self, name: str) -> bool:
        """Whether a signed file may be absent: engines open no record, and a GGUF file stands for itself."""
        return self.path.is_file() or (self.stored and name == RECORD)


def stored(home: Path, manifest: Manifest, path: Path) -> Artifact:
    """An artifact of the store at `home`; `path` is what the store says that an engine opens."""
    return Artifact(path, stored=True, kept=home / "signatures" / manifest.model / f"{manifest.variant}.sig")


def sign(artifact: Artifact, private_key: Path) -> Path:
    """Sign what an engine opens. Returns where the signature is. Raises CupolaError, InvalidValue, StorageFailed."""
    hashing, signing = _library("model_signing.hashing"), _library("model_signing.signing")
    own = artifact.path / SIGNATURE if artifact.path.is_dir() else artifact.path.with_name(f"{artifact.path.name}.sig")
    target = artifact.kept or own
    chosen = _Chosen(hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False), artifact.files)
    if not private_key.is_file():
        raise InvalidValue(f"There is no file {private_key} with a private key.")
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidValue(f"{private_key} is no private key for signing (PEM, EC, no password): {error}.") from None
    with storage_errors(target.parent):
        if artifact.kept:
            private_folder(target.parent)
        signer.set_hashing_config(chosen).sign(artifact.folder, target)
    return target


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The library's hashing of exactly these files: by itself it takes a single file for a model without names."""

    config: Any
    files: list[Path]

    def hash(self, folder: Path) -> Any:
        return self.config.hash(folder, files_to_hash=self.files)


def _library(module: str) -> Any:
    """A module of model-signing, which has no types worth the name. Raises CupolaError where it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise CupolaError(_MISSING) from None


def require_key(public_key: Path) -> None:
    """Raises ConfigError where signatures cannot be checked with this key at all: at the start, not at a load."""
    if find_spec("model_signing") is None:
        raise ConfigError(_MISSING)
    try:
        text = public_key.read_text(encoding="ascii")
    except (OSError, ValueError):
        text = ""
    if "-----BEGIN PUBLIC KEY-----" not in text:
        raise ConfigError(f"{public_key} is no public key in PEM, so no signature can be checked with it.")


def require_signed(artifact: Artifact, public_key: Path, label: str) -> None:
    """Raises SignatureRefused unless every file is signed with the key and unchanged. Reads them all."""
    signatures = artifact.signatures
    if not signatures:
        raise SignatureRefused(f"{label} is not signed. Sign it with: cupola sign {label} --key FILE")
    arguments = [str(artifact.path), str(artifact.kept or ""), "stored" if artifact.stored else "", str(public_key)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "server.models.signing", *arguments],
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not last.startswith("{"):
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise SignatureRefused(f"The signature of {label} cannot be checked: {reason[:300]}")
    if found := json.loads(last)["complaint"]:
        raise SignatureRefused(f"{label} is refused: {found}")


def compare(signed: dict[str, str], found: dict[str, str], artifact: Artifact) -> str | None:
    """What is wrong with files by name and hash; None if they are as they were signed."""
    if added := sorted(found.keys() - signed.keys()):
        return f"{', '.join(added[:3])} was not there when it was signed."
    if changed := sorted(name for name, digest in found.items() if signed[name] != digest):
        return f"{', '.join(changed[:3])} has changed since it was signed."
    if missing := sorted(name for name in signed.keys() - found.keys() if not artifact.may_lack(name)):
        return f"{', '.join(missing[:3])} was signed and is missing."
    return None


def complaint(artifact: Artifact, public_key: Path) -> str | None:
    """Why an artifact that has signatures is refused: of them all, one has to be good. Needs the library here."""
    found = {path.relative_to(artifact.folder).as_posix(): hash_file(path, sha256()) for path in artifact.files}
    complaints = []
    for signature in artifact.signatures:
        try:
            signed = _signed(signature, public_key)
        except ValueError as error:
            complaints.append(f"{signature.name} is no signature by this key ({str(error).strip()[:200]}).")
            continue
        if set(signed) == {"."} and len(found) == 1:  # the library's own way to sign a single file
            signed = dict.fromkeys(found, signed["."])
        wrong = compare(signed, found, artifact)
        if wrong is None:
            return None
        complaints.append(wrong)
    return complaints[-1]


def _signed(signature: Path, public_key: Path) -> dict[str, str]:
    """SHA-256 of every signed file by name. Raises ValueError for another key, a forgery, or no signature.

    The library's verifier takes a folder to be exactly what was signed, so what it is made of is used here.
    """
    refused = _library("cryptography.exceptions").InvalidSignature
    verifier = _library("model_signing._signing.sign_ec_key").Verifier
    read = _library("model_signing._signing.sign_sigstore_pb").Signature.read
    if signature.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    try:
        manifest = verifier(public_key).verify(read(signature))
    except (refused, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(str(error) or "it does not fit what it signs") from None
    return dict(_entries(manifest))


def _entries(manifest: Any) -> Iterator[tuple[str, str]]:
    for entry in manifest.resource_descriptors():
        if entry.digest.algorithm != "sha256":
            raise ValueError("it was made with other hashes than SHA-256 of whole files")
        yield entry.identifier, entry.digest.digest_hex


def main(arguments: list[str]) -> None:
    """Print why the artifact is refused, or null."""
    path, kept, where, public_key = arguments
    artifact = Artifact(Path(path), stored=where == "stored", kept=Path(kept) if kept else None)
    sys.stdout.write(json.dumps({"complaint": complaint(artifact, Path(public_key))}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
