"""Files of the Hugging Face hub, or of a mirror that speaks its API.

`huggingface_hub` says which files a commit has; their bytes are fetched by ourselves, since it neither resumes across
processes nor checks sha256.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from ...errors import SourceError, SourceNotFound, SourceUnreachable
from ...settings import Settings
from ..patience import Patience
from ..spec import HuggingFaceSource, InnerPath, Sha256
from .base import ByteStream, Listing, Part, RemoteFile
from .http import make_client, open_range, refuse

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_SECONDS = 30.0  # for the list of files


class _Sibling(BaseModel):
    rfilename: InnerPath
    size: int | None = None
    blob_id: str | None = None  # sha1 of the git blob
    sha256: Sha256 | None = None  # of files in LFS


class _ModelInfo(BaseModel):
    """The part of the hub's answer that we read."""

    sha: str
    siblings: list[_Sibling]


class HuggingFaceOrigin:
    """One repository at one revision."""

    def __init__(
        self, source: HuggingFaceSource, client: httpx.Client, endpoint: str, token: str | None, patience: Patience
    ) -> None:
        self._source = source
        self._client = client
        self._endpoint = endpoint.rstrip("/")
        self._token = token
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
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        with make_client(auth=_bearer(token) if token else None) as client:
            yield cls(source, client, settings.hf_endpoint, token, patience)

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
        """The commit and its files. Raises the SourceError that the hub's answer means."""
        # Slow to import, and only a pull needs it.
        from httpx2 import HTTPError  # the hub library's own transport
        from huggingface_hub import HfApi, errors

        repo = self._source.repo
        api = HfApi(self._endpoint, token=self._token or False, library_name="cupola")
        try:
            info = api.model_info(repo, revision=self._source.revision, files_metadata=True, timeout=_SECONDS)
        except errors.RevisionNotFoundError:
            raise SourceNotFound(
                f"{repo} has no revision '{self._source.revision}'; correct it in models.yaml."
            ) from None
        except errors.GatedRepoError:
            raise SourceError(
                f"{repo} is gated: accept its licence on {self._endpoint}/{repo} and set HF_TOKEN."
            ) from None
        except errors.RepositoryNotFoundError:
            # The hub does not tell an absent repository from one this token may not see.
            raise SourceNotFound(
                f"{repo} does not exist on {self._endpoint}, or is private and HF_TOKEN is not set."
            ) from None
        except errors.HfHubHTTPError as error:
            answer = error.response
            refuse(answer.status_code, answer.request.url.host, answer.headers.get("Retry-After", ""), repo)
        except (HTTPError, ConnectionError) as error:
            raise SourceUnreachable(
                f"The hub at {self._endpoint} cannot be reached ({error}); check the network and run again."
            ) from None
        except (TypeError, ValueError, KeyError, AttributeError):
            raise SourceError(f"{self._endpoint} does not answer like a hub.") from None
        return self._checked(info)

    def _checked(self, info: "ModelInfo") -> _ModelInfo:
        """What we read of the answer, with names that stay inside a folder and hashes that are hashes."""
        siblings = [
            {
                "rfilename": sibling.rfilename,
                "size": sibling.size,
                "blob_id": sibling.blob_id,
                "sha256": sibling.lfs.sha256 if sibling.lfs else None,
            }
            for sibling in info.siblings or ()
        ]
        try:
            return _ModelInfo.model_validate({"sha": info.sha, "siblings": siblings})
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(str(step) for step in wrong["loc"])
            raise SourceError(f"{self._endpoint} does not answer like a hub ({where}: {wrong['msg']}).") from None

    def _wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._source.files)

    def _remote(self, sibling: _Sibling, commit: str, depth: int) -> RemoteFile:
        url = f"{self._endpoint}/{self._source.repo}/resolve/{commit}/{quote(sibling.rfilename)}"
        name = "/".join(sibling.rfilename.split("/")[depth:])
        git_sha1 = sibling.blob_id if sibling.sha256 is None else None
        part = Part(url, name, sibling.size, sibling.sha256, git_sha1)
        return RemoteFile(name, (part,), sibling.size, sibling.sha256)


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
