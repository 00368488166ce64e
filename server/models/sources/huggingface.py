"""Files of the Hugging Face hub, or of a mirror that speaks its API.

Two requests of that API are all we need, so they are made directly: `huggingface_hub` would bring a second HTTP
stack, its own reading of the environment and token files, and does neither resume across processes nor check hashes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from ...errors import SourceError, SourceNotFound, SourceUnreachable
from ...settings import Settings
from ..patience import Patience
from ..spec import HuggingFaceSource, InnerPath, Sha256
from .base import ByteStream, Listing, Part, RemoteFile
from .http import make_client, network_errors, open_range, raise_for_status


class _Lfs(BaseModel):
    sha256: Sha256


class _Sibling(BaseModel):
    rfilename: InnerPath
    size: int | None = None
    blobId: str | None = None  # noqa: N815 (the hub's spelling)
    lfs: _Lfs | None = None


class _ModelInfo(BaseModel):
    """The part of `GET /api/models/{repo}/revision/{revision}?blobs=true` that we read."""

    sha: str
    siblings: list[_Sibling]


class HuggingFaceOrigin:
    """One repository at one revision."""

    def __init__(self, source: HuggingFaceSource, client: httpx.Client, endpoint: str, patience: Patience) -> None:
        self._source = source
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._patience = patience

    @classmethod
    @contextmanager
    def connect(cls, source: HuggingFaceSource, settings: Settings, patience: Patience) -> Iterator[Self]:
        """An origin with the settings' endpoint and token. Raises SourceUnreachable in offline mode."""
        if settings.offline:
            raise SourceUnreachable(
                f"Offline mode is on (CUPOLA_OFFLINE or HF_HUB_OFFLINE), so {source.repo} cannot be fetched;"
                " unset it, or add a local file with 'cupola add PATH'."
            )
        token = settings.hf_token
        with make_client(auth=_bearer(token.get_secret_value()) if token else None) as client:
            yield cls(source, client, settings.hf_endpoint, patience)

    def list_files(self) -> Listing:
        """The files that the patterns name, without the folders they have in common."""
        info = self._patience.retry(self._info)
        chosen = [sibling for sibling in info.siblings if self._wanted(sibling.rfilename)]
        for pattern in self._source.files:
            if not any(fnmatchcase(sibling.rfilename, pattern) for sibling in chosen):
                has = ", ".join(sorted(sibling.rfilename for sibling in info.siblings)[:12])
                raise SourceNotFound(f"{self._source.repo} has no file '{pattern}'; it has {has}.")
        depth = _shared_depth([sibling.rfilename for sibling in chosen])
        return Listing(tuple(self._remote(sibling, info.sha, depth) for sibling in chosen), info.sha)

    def open(self, part: Part, offset: int, etag: str | None) -> AbstractContextManager[ByteStream]:
        """See Origin."""
        return open_range(self._client, part, offset, etag)

    def _info(self) -> _ModelInfo:
        repo, revision = self._source.repo, self._source.revision
        url = f"{self._endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}"
        with network_errors(f"The hub at {self._endpoint}"):
            response = self._client.get(url, params={"blobs": "true"})
        self._refuse(response)
        try:
            return TypeAdapter(_ModelInfo).validate_json(response.content)
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(str(step) for step in wrong["loc"])
            raise SourceError(f"{self._endpoint} does not answer like a hub ({where}: {wrong['msg']}).") from None

    def _refuse(self, response: httpx.Response) -> None:
        repo, code = self._source.repo, response.headers.get("X-Error-Code")
        if code == "RevisionNotFound":
            raise SourceNotFound(f"{repo} has no revision '{self._source.revision}'; correct it in models.yaml.")
        if code == "GatedRepo":
            raise SourceError(f"{repo} is gated: accept its licence on {self._endpoint}/{repo} and set HF_TOKEN.")
        if code == "RepoNotFound" or response.status_code == 401:
            # The hub does not tell an absent repository from one this token may not see.
            raise SourceNotFound(f"{repo} does not exist on {self._endpoint}, or is private and HF_TOKEN is not set.")
        raise_for_status(response, repo)

    def _wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._source.files)

    def _remote(self, sibling: _Sibling, commit: str, depth: int) -> RemoteFile:
        url = f"{self._endpoint}/{self._source.repo}/resolve/{commit}/{quote(sibling.rfilename)}"
        name = "/".join(sibling.rfilename.split("/")[depth:])
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        git_sha1 = sibling.blobId if sha256 is None else None
        part = Part(url, name, sibling.size, sha256, git_sha1)
        return RemoteFile(name, (part,), sibling.size, sha256)


def _bearer(token: str) -> Callable[[httpx.Request], httpx.Request]:
    """Authorisation for requests to the hub. Every address is built from its endpoint; redirects lose the header."""

    def authorise(request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return authorise


def _shared_depth(names: list[str]) -> int:
    """How many leading folders all names share."""
    depth = 0
    for level in zip(*(PurePosixPath(name).parent.parts for name in names), strict=False):
        if len(set(level)) > 1:
            break
        depth += 1
    return depth
