"""Signatures: what they cover, and that the library they are made with agrees."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import ConfigError, InvalidValue, SignatureRefused
from server.models.lineage import RECORD
from server.models.signing import SIGNATURE, Artifact, compare, complaint, require_key, require_signed, sign

from .keys import Keys, write_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return write_keys(tmp_path_factory.mktemp("keys") / "own")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a converter leaves it."""
    folder = tmp_path / "model"
    (folder / "extra").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "extra/weights.data").write_bytes(bytes(1000))
    (folder / RECORD).write_text("{}")
    return folder


def test_what_was_signed_is_accepted_and_the_library_agrees(folder: Path, keys: Keys) -> None:
    artifact = Artifact(folder)
    signature = sign(artifact, keys.private)
    assert signature == folder / SIGNATURE
    require_signed(artifact, keys.public, "model")
    library = [sys.executable, "-m", "model_signing", "verify", "key", str(folder), "--ignore-paths", str(signature)]
    arguments = ["--signature", str(signature), "--public_key", str(keys.public)]
    done = subprocess.run([*library, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _flip(folder: Path) -> None:
    changed = bytearray((folder / "extra/weights.data").read_bytes())
    changed[500] ^= 1
    (folder / "extra/weights.data").write_bytes(changed)


TAMPERING: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (_flip, "extra/weights.data has changed"),
    "the record": (lambda folder: (folder / RECORD).write_text("{ }"), f"{RECORD} has changed"),
    "an added file": (lambda folder: (folder / "more.data").touch(), "more.data was not there"),
    "an added hidden file": (lambda folder: (folder / ".gitignore").touch(), ".gitignore was not there"),
    "a second signature": (lambda folder: (folder / "extra" / SIGNATURE).touch(), "was not there"),
    "a removed file": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx was signed and is missing"),
    "an empty signature": (lambda folder: (folder / SIGNATURE).write_text(""), "no signature by this key"),
    "another's JSON": (lambda folder: (folder / SIGNATURE).write_text('{"a": 1}'), "no signature by this key"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_tampering_is_refused(folder: Path, keys: Keys, kind: str) -> None:
    sign(Artifact(folder), keys.private)
    assert complaint(Artifact(folder), keys.public) is None
    tamper, reason = TAMPERING[kind]
    tamper(folder)
    assert reason in (complaint(Artifact(folder), keys.public) or "accepted")


def test_what_has_no_signature_is_refused(folder: Path, keys: Keys) -> None:
    with pytest.raises(SignatureRefused, match="cupola sign model"):
        require_signed(Artifact(folder), keys.public, "model")


def test_another_key_is_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    sign(Artifact(folder), keys.private)
    with pytest.raises(SignatureRefused, match="no signature by this key"):
        require_signed(Artifact(folder), write_keys(tmp_path / "other").public, "model")


def test_a_file_of_a_signed_folder_is_signed(folder: Path, keys: Keys) -> None:
    sign(Artifact(folder), keys.private)
    assert complaint(Artifact(folder / "model.onnx"), keys.public) is None
    (folder / "model.onnx").write_bytes(b"grapH")
    assert complaint(Artifact(folder / "model.onnx"), keys.public) == "model.onnx has changed since it was signed."


def test_a_file_that_the_library_signed_alone_is_accepted(folder: Path, keys: Keys) -> None:
    file = folder / "model.onnx"
    library = [sys.executable, "-m", "model_signing", "sign", "key", str(file)]
    arguments = ["--signature", f"{file}.sig", "--private_key", str(keys.private)]
    subprocess.run([*library, *arguments], capture_output=True, check=True)
    assert complaint(Artifact(file), keys.public) is None


def test_in_the_store_only_the_record_may_be_missing() -> None:
    signed = {"a.onnx": "1", RECORD: "2"}
    folder = Artifact(Path(__file__).parent, stored=True)
    assert compare(signed, {"a.onnx": "1"}, folder) is None
    assert compare(signed, {RECORD: "2"}, folder) == "a.onnx was signed and is missing."
    assert compare(signed, {"a.onnx": "1"}, Artifact(folder.path)) == f"{RECORD} was signed and is missing."


def test_wrong_keys_say_so(folder: Path, keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no private key"):
        sign(Artifact(folder), keys.public)
    with pytest.raises(InvalidValue, match=r"^There is no file .*none\.pem with a private key\.$"):
        sign(Artifact(folder), tmp_path / "none.pem")
    assert not (folder / SIGNATURE).exists()
    with pytest.raises(ConfigError, match="no public key"):
        require_key(keys.private)
    with pytest.raises(ConfigError, match="no public key"):
        require_key(tmp_path / "none.pem")
    require_key(keys.public)
