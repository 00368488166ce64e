"""Every error that Cupola raises on purpose.

    CupolaError                      500  server_error
    |- RequestError                  400  invalid_request_error
    |  |- InvalidValue                    a field is out of range or of the wrong type
    |  |- UnsupportedField                a field that would change the meaning and cannot be honoured
    |  |- ContextLengthExceeded           the prompt (and the tokens asked for) do not fit
    |  |- WrongModel                      the model does not do what this endpoint is for
    |  |- TemplateFailed                  the chat template refused, failed or took too long (TemplateTooSlow)
    |  |- BodyTooLarge               413
    |  |- UnsupportedMediaType       415
    |  |- HeadersTooLarge            431
    |  |- ModelInUse                 409  it is not unloaded while it answers, unless that is forced
    |  |- HostNotAllowed             403
    |  |- CrossSiteRefused           403  another site's page wants to change something here
    |  |- ShutdownRefused            403  a client does not end the server of everybody else
    |  |- KeyRefused                 401  no API key, or one that is not known
    |  `- ScopeMissing               403  the key is known, and may not do this
    |- NotFound                      404  invalid_request_error
    |  |- ModelNotFound                   no such name; the message lists the known ones
    |  `- ModelNotPulled                  known, but its files are not here; the message has the command
    |- Unavailable                   503  server_error, with Retry-After
    |  |- ModelLoading                    the wait that the client allowed is over
    |  |- QueueFull                  429  too many requests wait for this model
    |  |- PoolFull                        every loaded model is in use or pinned
    |  |- NotEnoughMemory                 the model and its KV entries do not fit
    |  |- PullStopped                     nobody waited for the pull any more, or the server stops
    |  `- WorkerDied                      the worker process ended during the request
    |- LoadFailed                         the engine could not load the artifact
    |  `- SignatureRefused           403  its signature is missing or wrong, and one is required
    |- EngineFailed                       the engine returned an error for a batch
    |- ConversionFailed                   an artifact could not be made from another; nothing was left of it
    |- ConfigError                        a setting or models.yaml is wrong (exit status 78)
    `- SourceError                   502  a pull failed; nothing was left under a final name
       |- SourceNotFound                  the repository, package, file or revision does not exist
       |- SourceUnreachable               no network, or offline mode
       |- HashMismatch                    the bytes are not the promised ones
       |- StorageFull                     the disk is full
       `- StorageFailed                   the disk is not writable, fails, or a file of the store is gone (500)

A class knows its status, type and code. An error crosses the worker pipe as its code and message
(`server.child.channel`), so constructors take a message and optional details only.
"""

from typing import ClassVar

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: a service manager must not restart us in a loop


class CupolaError(Exception):
    """An error with a sentence for the user. Unforeseen exceptions become the plain base class, without details."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after

    @classmethod
    def from_code(cls, code: str, message: str, param: str | None = None) -> "CupolaError":
        """The error that `code` names, as it was on the other side of a pipe."""
        found = next((kind for kind in _descendants(CupolaError) if kind.code == code), CupolaError)
        return found(message, param=param)


def _descendants(kind: type[CupolaError]) -> list[type[CupolaError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _descendants(child))]


class RequestError(CupolaError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidValue(RequestError):
    code = "invalid_value"


class UnsupportedField(RequestError):
    code = "unsupported_parameter"


class ContextLengthExceeded(RequestError):
    code = "context_length_exceeded"

    @classmethod
    def of(cls, prompt_tokens: int, max_tokens: int | None, context_length: int) -> "ContextLengthExceeded":
        asked = f" and {max_tokens} more were asked for" if max_tokens else ""
        return cls(
            f"This model's context length is {context_length} tokens. The prompt has {prompt_tokens} tokens{asked}."
            " Shorten the prompt or ask for fewer tokens.",
            param="max_tokens" if max_tokens and prompt_tokens < context_length else None,
        )


class WrongModel(RequestError):
    code = "unsupported_model"


class TemplateFailed(RequestError):
    code = "chat_template_failed"


class TemplateTooSlow(TemplateFailed):
    """Its process was ended at the deadline. To a client it failed, as others do."""


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    status = 415
    code = "unsupported_media_type"


class HeadersTooLarge(RequestError):
    status = 431
    code = "headers_too_large"


class HostNotAllowed(RequestError):
    status = 403
    code = "host_not_allowed"


class CrossSiteRefused(RequestError):
    status = 403
    code = "cross_site_refused"


class ShutdownRefused(RequestError):
    status = 403
    code = "shutdown_refused"


class KeyRefused(RequestError):
    status = 401
    code = "invalid_api_key"


class ScopeMissing(RequestError):
    status = 403
    code = "insufficient_scope"


class ModelInUse(RequestError):
    status = 409
    code = "model_in_use"


class NotFound(CupolaError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class ModelNotPulled(NotFound):
    code = "model_not_pulled"


class Unavailable(CupolaError):
    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = 1) -> None:
        super().__init__(message, param=param, retry_after=retry_after)


class ModelLoading(Unavailable):
    code = "model_loading"


class QueueFull(Unavailable):
    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class PoolFull(Unavailable):
    code = "models_busy"


class NotEnoughMemory(Unavailable):
    code = "not_enough_memory"


class PullStopped(Unavailable):
    code = "pull_stopped"


class WorkerDied(Unavailable):
    code = "worker_died"


class LoadFailed(CupolaError):
    code = "model_load_failed"


class SignatureRefused(LoadFailed):
    status = 403
    code = "signature_refused"


class EngineFailed(CupolaError):
    code = "engine_failed"


class ConversionFailed(CupolaError):
    code = "conversion_failed"


class ConfigError(CupolaError):
    code = "bad_configuration"
    exit_code = EXIT_CONFIG


class SourceError(CupolaError):
    status = 502
    code = "source_failed"


class SourceNotFound(SourceError):
    code = "source_not_found"


class SourceUnreachable(SourceError):
    code = "source_unreachable"


class HashMismatch(SourceError):
    code = "hash_mismatch"


class StorageFull(SourceError):
    code = "storage_full"


class StorageFailed(SourceError):
    status = 500
    code = "storage_failed"
