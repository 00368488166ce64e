"""Pairs of keys, as `openssl ecparam -genkey` makes them."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Keys:
    private: Path
    public: Path


def write_keys(folder: Path) -> Keys:
    """A new pair of PEM files in a new folder."""
    folder.mkdir()
    keys = Keys(folder / "private.pem", folder / "public.pem")
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    keys.private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    keys.public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
    return keys
