"""Which execution providers a device wants. Pure: it is told what the installed wheel has."""

from collections.abc import Sequence

from ...errors import LoadFailed

Provider = tuple[str, dict[str, str]]
CPU: Provider = ("CPUExecutionProvider", {})
CUDA: Provider = ("CUDAExecutionProvider", {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"})
# The first of each is the one that the device is about.
PROVIDERS: dict[str, list[Provider]] = {"cpu": [CPU], "cuda": [CUDA, CPU]}


def providers_for(device: str, available: Sequence[str]) -> list[Provider]:
    """Providers and their options, best first, for a device in the words of models.yaml.

    Raises LoadFailed, with what mends it, for a device that this engine or the installed wheel cannot use.
    """
    wanted = PROVIDERS.get(device)
    if wanted is None:
        raise LoadFailed(
            f"The onnx engine runs on {' and '.join(PROVIDERS)}, not on {device}. Set backend: genai for it."
        )
    if wanted[0][0] not in available:
        raise LoadFailed(
            f"The installed onnxruntime cannot use {device} (it has {', '.join(available)})."
            f" Install one that can: pip install 'cupola[{device}]'"
        )
    return wanted
