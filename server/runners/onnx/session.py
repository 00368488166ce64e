"""ONNX Runtime: sessions, memory on a device, and bindings to memory of our own. The only file that imports it."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ...errors import LoadFailed
from ..base import Placement
from .huge_pages import weights_in_huge_pages
from .providers import providers_for

Tensor = Any  # ort.OrtValue, which has no types
Open = Callable[[bool], Any]  # a session of ONNX Runtime whose threads spin, or do not
ERRORS_ONLY = 3
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class RunFailed(Exception):
    """ONNX Runtime could not run a graph; what it should have written is unknown."""


class Value(NamedTuple):
    """An input or output. ONNX Runtime's own object of it would keep a session, and its weights, from being freed."""

    name: str
    type: str
    shape: list[int | str]


def _values(found: Iterable[Any]) -> dict[str, Value]:
    return {value.name: Value(value.name, value.type, list(value.shape)) for value in found}


class Session:
    """One loaded graph. `again` opens it once more, with other threads that wait."""

    def __init__(self, session: Any, device: str, again: "Open | None" = None) -> None:
        self._session = session
        self.device = device
        self._again = again
        self.inputs = _values(session.get_inputs())
        self.outputs = _values(session.get_outputs())
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self.overridable = _values(session.get_overridable_initializers())

    def dtype(self, name: str) -> np.dtype[Any]:
        """The float type of an input or output. Raises LoadFailed for one that this engine has not."""
        kind = (self.inputs | self.outputs)[name].type
        if kind not in DTYPES:
            raise LoadFailed(f"{name} is {kind}; this engine has KV entries and logits of float or float16.")
        return np.dtype(DTYPES[kind])

    def binding(self) -> "Binding":
        return Binding(self._session)

    def set_spin(self, spin: bool) -> None:
        """Open the graph again; bindings of before are of no more use. Raises LoadFailed."""
        assert self._again is not None, "a graph of its own has no threads to speak of"
        self._session = None  # its memory first
        self._session = self._again(spin)

    def close(self) -> None:
        self._session = None


class Binding:
    """Inputs and outputs of a graph, each tied to a place in memory. The caller keeps what lies at an address alive."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._alive: dict[str, npt.NDArray[np.int64]] = {}

    def feed(self, name: str, array: npt.NDArray[np.int64]) -> None:
        """An input from an array of the host. On a device it is copied there now."""
        self._alive[name] = array  # the binding keeps an address only
        self._binding.bind_input(name, "cpu", 0, np.int64, array.shape, array.ctypes.data)

    def read(self, name: str, tensor: Tensor) -> None:
        """An input from a tensor."""
        self._binding.bind_ortvalue_input(name, tensor)

    def read_at(self, name: str, device: str, dtype: npt.DTypeLike, shape: list[int], address: int) -> None:
        self._binding.bind_input(name, device, 0, dtype, shape, address)

    def write_at(self, name: str, device: str, dtype: npt.DTypeLike, shape: list[int], address: int) -> None:
        self._binding.bind_output(name, device, 0, dtype, shape, address)

    def make(self, name: str, device: str) -> None:
        """An output into memory of ONNX Runtime's, whatever its shape will be."""
        self._binding.bind_output(name, device)

    def run(self) -> None:
        """Compute. Raises RunFailed with ONNX Runtime's own reason."""
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # noqa: BLE001  # its exceptions share no public base but this one
            raise RunFailed(_first_line(error)) from None

    def made(self) -> Tensor:
        """The output that was bound last. It lives as long as the binding, and is another after the next run."""
        return self._binding.get_outputs()[-1]


def open_session(graph: Path, placement: Placement) -> Session:
    """Load a decoder. Raises LoadFailed with ONNX Runtime's own reason."""

    def opened(spin: bool) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = placement.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        with weights_in_huge_pages() if placement.device == "cpu" else nullcontext():
            return _open(str(graph), options, placement.device, f"{graph.parent.name}/{graph.name}")

    return Session(opened(placement.spin), placement.device, opened)


def open_small(graph: bytes, device: str) -> Session:
    """Load a graph of graphs.py."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return Session(_open(graph, options, device, "a graph of its own"), device)


def _open(graph: str | bytes, options: Any, device: str, name: str) -> Any:
    providers = providers_for(device, ort.get_available_providers())
    options.log_severity_level = ERRORS_ONLY
    try:
        # Without the fallback, since it prints, and computes on the CPU what was meant for a device.
        session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:  # noqa: BLE001  # as above
        raise LoadFailed(f"ONNX Runtime cannot load {name}: {_first_line(error)}") from None
    if session.get_providers()[0] != providers[0][0]:
        raise LoadFailed(f"ONNX Runtime could not start {providers[0][0]}: its libraries or the driver are missing.")
    return session


def allocate(shape: list[int], dtype: npt.DTypeLike, device: str) -> Tensor:
    """Memory on a device, with anything in it. Raises MemoryError."""
    try:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, 0)
    except Exception as error:  # noqa: BLE001  # as above
        raise MemoryError(_first_line(error)) from None


def placed(array: npt.NDArray[Any], device: str) -> Tensor:
    """A copy of an array on a device."""
    return ort.OrtValue.ortvalue_from_numpy(array, device, 0)


def read_adapter(path: Path) -> dict[str, Tensor]:
    """The tensors of an `.onnx_adapter` file by name. Raises LoadFailed with ONNX Runtime's own reason."""
    try:
        return dict(ort.AdapterFormat.read_adapter(str(path)).get_parameters())
    except Exception as error:  # noqa: BLE001  # as above
        raise LoadFailed(f"ONNX Runtime cannot read the adapter {path.name}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__
