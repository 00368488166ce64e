"""Converters as processes that begin at once: each is a fork of a program that has imported what they need."""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from importlib import import_module

HEAVY = (
    "converters.adapters", "converters.hf_to_gguf", "converters.hf_to_onnx", "converters.merge",
    "converters.pruning.prune", "converters.encoder_to_onnx", "converters.imatrix", "converters.gguf_to_onnx",
    "converters.gguf_to_hf", "converters.quantize", "peft", "onnxruntime_genai.models.builder",
)  # fmt: skip


def main() -> None:
    """Read lines of `{"arguments": [...], "limit": bytes or null, "log": file}`; write the number of each process."""
    for name in HEAVY:
        import_module(name)
    say("ready")
    for line in sys.stdin:
        told = json.loads(line)
        child = os.fork()
        if child == 0:
            _convert(told["arguments"], told["limit"], told["log"])
        with suppress(ProcessLookupError, PermissionError):  # the child may have been first, or be at its end
            os.setpgid(child, child)
        say(child)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))


def say(word: object) -> None:
    """A line to whoever started this."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _convert(arguments: list[str], limit: int | None, log: str) -> None:
    from converters import commands
    from converters.program import build

    os.setpgid(0, 0)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # as on a full disk, a write comes to an end
    status = 1
    try:
        build(commands, "")(arguments, prog_name="converters", standalone_mode=False)
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
