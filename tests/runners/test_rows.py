"""KV rows and logits in the host's memory and in a device's, for which the CPU stands here."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import psutil
import pytest
from onnx import helper

from server.runners.onnx import graphs
from server.runners.onnx.device_rows import DeviceRows
from server.runners.onnx.logits import Picker, Place, on_host
from server.runners.onnx.rows import STEP, HostRows, KvRows, Zeros
from server.runners.onnx.session import allocate, placed

SIZES = {"layers": 2, "rows": 4, "kv_heads": 2, "head_size": 3}
Make = Callable[[npt.DTypeLike], KvRows]
MAKERS: dict[str, Make] = {
    "host": lambda dtype: HostRows(**SIZES, dtype=dtype),
    "device": lambda dtype: DeviceRows("cpu", **SIZES, dtype=dtype),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


def at(address: int, shape: list[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array that lies there."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    whole: npt.NDArray[Any] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
    return whole.view(dtype).reshape(shape)


def array(rows: KvRows, index: int) -> npt.NDArray[Any]:
    """All rows of one key or value array, where they lie."""
    shape, address = rows.view(index, 0, SIZES["rows"])
    return at(address, shape, rows.dtype)


def fill(rows: KvRows, row: int, length: int, seed: int) -> list[npt.NDArray[Any]]:
    """Random entries; copies of what was written, one of each array."""
    written = []
    for index in range(2 * SIZES["layers"]):
        part = array(rows, index)[row, :, :length]
        part[:] = np.random.default_rng([seed, index]).standard_normal(part.shape)
        written.append(part.copy())
    return written


def assert_holds(rows: KvRows, row: int, length: int, expected: list[npt.NDArray[Any]]) -> None:
    for index, values in enumerate(expected):
        assert np.array_equal(array(rows, index)[row, :, :length], values[:, :length])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rows_are_copied_traded_and_grow(make: Make, dtype: npt.DTypeLike) -> None:
    rows = make(dtype)
    assert rows.capacity == STEP
    assert rows.bytes_per_token == 2 * 2 * 2 * 3 * np.dtype(dtype).itemsize
    assert not any(array(rows, index).any() for index in range(4))
    long, short = fill(rows, 0, 200, 1), fill(rows, 2, 50, 2)
    rows.copy(0, 3, 120)
    assert_holds(rows, 3, 120, long)
    rows.swap(0, 2, 200, 50)
    assert_holds(rows, 2, 200, long)
    assert_holds(rows, 0, 50, short)
    rows.grow(3 * STEP, [50, 0, 200, 120])
    assert rows.capacity == 3 * STEP
    for row, length, expected in ((0, 50, short), (2, 200, long), (3, 120, long)):
        assert_holds(rows, row, length, expected)
    rows.close()


def test_a_view_is_neighbouring_rows(make: Make) -> None:
    rows = make(np.float32)
    fill(rows, 2, 10, 3)
    shape, address = rows.view(1, 2, 2)
    assert shape == [2, 2, STEP, 3]
    assert address == array(rows, 1)[2].ctypes.data


def test_growing_has_one_array_twice_and_not_all() -> None:
    rows = HostRows(layers=16, rows=4, kv_heads=8, head_size=64, dtype=np.float32)
    rows.grow(1024, [0] * 4)
    for index in range(32):  # 268 MB
        shape, address = rows.view(index, 0, 4)
        at(address, shape, np.float32)[:] = 1
    before = psutil.Process().memory_info()
    rows.grow(1536, [1024] * 4)
    after = psutil.Process().memory_info()
    assert after.rss - before.rss < 180e6, "half as much again, and the one array"
    rows.close()


def test_short_rows_beside_a_long_one_stay_short() -> None:
    rows = HostRows(layers=8, rows=8, kv_heads=4, head_size=64, dtype=np.float32)
    rows.grow(4096, [0] * 8)  # 537 MB, were it all used
    before = psutil.Process().memory_info().rss
    for index in range(16):
        shape, address = rows.view(index, 0, 8)
        whole = at(address, shape, np.float32)
        whole[0, :, :4000] = 1
        whole[1:, :, :50] = 1
    used = (4000 + 7 * 50) * rows.bytes_per_token
    assert psutil.Process().memory_info().rss - before < 1.3 * used
    rows.close()


def test_memory_that_is_not_there_is_no_crash() -> None:
    for take in (lambda: allocate([1 << 50], np.float32, "cpu"), lambda: Zeros((1 << 50,), np.dtype(np.float32))):
        with pytest.raises(MemoryError):
            take()


def test_growth_without_memory_loses_nothing() -> None:
    rows = HostRows(layers=1, rows=2, kv_heads=1, head_size=64, dtype=np.float32)
    with pytest.raises(MemoryError):
        rows.grow(1 << 50, [0, 0])
    assert rows.capacity == STEP
    rows.grow(2 * STEP, [0, 0])
    assert rows.capacity == 2 * STEP


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_logits_are_read_where_they_lie(dtype: npt.DTypeLike) -> None:
    source = np.random.default_rng(5)
    blocks = [source.standard_normal(shape).astype(dtype) for shape in ((3, 1, 90), (2, 4, 90))]
    tensors = [placed(block, "cpu") for block in blocks]
    places = [Place(tensors[0], 2, 0), Place(tensors[1], 1, 3), Place(tensors[0], 0, 0), Place(tensors[1], 0, 2)]
    expected = np.stack([blocks[0][2, 0], blocks[1][1, 3], blocks[0][0, 0], blocks[1][0, 2]]).astype(np.float32)
    for logits in (on_host(places), Picker("cpu", np.dtype(dtype))(places)):
        assert np.array_equal(logits.host(range(4)), expected)
        assert np.array_equal(logits.host([3, 1]), expected[[3, 1]])
        assert logits.host([0]).dtype == np.float32
        assert logits.argmax([1, 2]).tolist() == expected[[1, 2]].argmax(axis=1).tolist()
        assert logits.argmax([]).tolist() == []


@pytest.mark.parametrize("element", [graphs.FLOAT, graphs.FLOAT16])
def test_the_graphs_are_what_the_onnx_package_would_write(element: int) -> None:
    value = helper.make_tensor_value_info
    mover = helper.make_graph(
        [helper.make_node("Pad", ["x", "pads"], ["moved"])],
        "graph",
        [value("x", element, list("abcd")), value("pads", graphs.INT64, ["pads"])],
        [value("moved", element, list("efgh"))],
    )
    picker = helper.make_graph(
        [
            helper.make_node("Gather", ["logits", "rows"], ["found"], axis=0),
            helper.make_node("Cast", ["found"], ["picked"], to=graphs.FLOAT),
            helper.make_node("ArgMax", ["found"], ["best"], axis=-1, keepdims=0),
        ],
        "graph",
        [value("logits", element, ["n", "vocabulary"]), value("rows", graphs.INT64, ["k"])],
        [value("picked", graphs.FLOAT, ["k", "vocabulary"]), value("best", graphs.INT64, ["k"])],
    )
    for written, graph in ((graphs.mover(element), mover), (graphs.picker(element), picker)):
        opsets = [helper.make_opsetid("", graphs.OPSET)]
        expected = helper.make_model(graph, opset_imports=opsets, ir_version=graphs.IR_VERSION)
        found = onnx.load_model_from_string(written)
        onnx.checker.check_model(found, full_check=True)
        assert found == expected
