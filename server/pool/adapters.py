"""The file of the adapter that a request's model name asks for."""

import asyncio
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

from ..models import signing
from ..models.adapters import AdapterFormat, named
from ..models.names import ModelName
from ..types import Adapter
from .resident import Resident


class AdapterFiles:
    """Of leased models. `key`: the public key that signatures are checked with, where they are required."""

    def __init__(self, key: Path | None) -> None:
        self._key = key
        # Files whose signatures were checked, by the model whose worker opens them, which it does once.
        self._signed: WeakKeyDictionary[Resident, set[str]] = WeakKeyDictionary()

    async def named(self, name: str, resident: Resident) -> Adapter | None:
        """The adapter that `name` asks for, as a file for the model's engine; None if it asks for none.

        Raises ModelNotFound, and SignatureRefused where signatures are required.
        """
        asked = ModelName.parse(name).adapter
        if asked is None:
            return None
        found = named(resident.spec.adapters, asked, resident.spec.name)
        path = found.files[cast("AdapterFormat", resident.variant.format)]
        signed = self._signed.setdefault(resident, set())
        if self._key is not None and path not in signed:
            artifact = signing.Artifact(Path(path))
            await asyncio.to_thread(signing.require_signed, artifact, self._key, f"{resident.spec.name}+{asked}")
            signed.add(path)
        return Adapter(asked, path, found.scale)
