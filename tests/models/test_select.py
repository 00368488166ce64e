"""The ranking of variants, with its reasons."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.hardware.place import Facts
from server.models.lineage import StoredFile
from server.models.manifest import Manifest
from server.models.quality import Quality
from server.models.select import SMALL, Candidate, Choice, rank
from server.models.spec import DerivedSource, FileSource, Variant
from server.models.tuning import Measurement, Tuning, read_tuning, write_tuning

GGUF = Variant(name="gguf", format="gguf", source=FileSource(path="a.gguf"), devices=("cpu", "cuda", "vulkan"))
EXACT = Variant(name="onnx-exact", format="onnx", source=DerivedSource(variant="gguf"))
INT4 = Variant(name="onnx-int4", format="onnx", source=DerivedSource(variant="gguf", precision="int4"))
NPU = Variant(name="onnx-npu", format="onnx", backend="genai", source=FileSource(path="n"), devices=("qnn",))
ANYWHERE = ("llama", "onnx", "genai")


def facts(*engines: str, devices: tuple[str, ...] = ("cpu",), memory: int = 10**10) -> Facts:
    reach = {engine: frozenset(devices) for engine in engines or ANYWHERE}
    lacking = {engine: f"get {engine}" for engine in ANYWHERE if engine not in reach}
    return Facts(reach, lacking, memory, {}, "this device")


def pulled(variant: Variant, needs: int | None = None) -> Candidate:
    file = StoredFile(name="model", size=1, sha256=f"{sum(variant.name.encode()):064x}")
    manifest = Manifest(
        model="tiny",
        variant=variant.name,
        format=variant.format,
        quantization="x",
        licence="MIT",
        files=(file,),
        created=datetime.now(UTC),
        cupola_version="0",
    )
    return Candidate(variant, manifest, needs)


def measurement(candidate: Candidate, one: float, eight: float, kl: float = 0.001) -> Measurement:
    assert candidate.manifest is not None
    return Measurement(
        variant=candidate.variant.name,
        backend=candidate.variant.backend,
        digest=candidate.manifest.digest,
        threads=2,
        spin=True,
        prefill=1000,
        decode={1: one, 4: eight, 8: eight},
        load_seconds=1,
        memory=1,
        quality=Quality(kl_mean=kl, kl_p99=kl, top1=0.9, positions=256, reference="gguf"),
    )


def tuning(*measurements: Measurement, max_kl: float = 0.02) -> Tuning:
    return Tuning(
        model="tiny", device="this device", created=datetime.now(UTC), max_kl=max_kl, measurements=measurements
    )


def names(choices: list[Choice]) -> list[str]:
    return [choice.variant.name for choice in choices if choice.usable]


ALL = [pulled(GGUF), pulled(EXACT), pulled(INT4)]


def test_a_small_model_is_served_as_onnx_on_a_processor_and_a_large_one_as_it_came() -> None:
    assert names(rank(ALL, facts(), None, SMALL)) == ["onnx-exact", "gguf"]
    assert names(rank(ALL, facts(), None, SMALL + 1)) == ["gguf", "onnx-exact"]
    assert names(rank(ALL, facts(), None, None)) == ["gguf", "onnx-exact"]


def test_devices_go_by_class() -> None:
    every = [*ALL, pulled(NPU)]
    assert names(rank(every, facts(devices=("cpu", "qnn", "cuda")), None, SMALL))[:2] == ["onnx-npu", "gguf"]
    assert names(rank(every, facts(devices=("cpu", "vulkan")), None, SMALL))[0] == "gguf"
    assert "onnx-npu" not in names(rank(every, facts(), None, SMALL))


def test_what_cannot_run_says_why() -> None:
    found = {choice.variant.name: choice for choice in rank(ALL, facts("onnx"), None, SMALL)}
    obstacle = found["gguf"].obstacle
    assert obstacle is not None
    assert obstacle.kind == "engine"
    assert "get llama" in found["gguf"].reason


def test_what_does_not_fit_says_both_numbers() -> None:
    [choice] = rank([pulled(GGUF, needs=2_000)], facts(memory=1_000), None, SMALL)
    assert choice.obstacle is not None
    assert choice.obstacle.kind == "memory"
    assert "2,000" in choice.reason
    assert "1,000" in choice.reason


def test_what_gives_quality_away_is_used_when_asked_for_by_name() -> None:
    assert "onnx-int4" not in names(rank(ALL, facts(), None, SMALL))
    assert names(rank([pulled(INT4)], facts(), None, SMALL, asked=True)) == ["onnx-int4"]
    assert names(rank([pulled(INT4)], facts(), None, SMALL)) == []


@pytest.mark.parametrize(("kl", "best"), [(0.019, "onnx-int4"), (0.021, "gguf")])
def test_measured_speed_decides_among_what_is_close_enough(kl: float, best: str) -> None:
    found = tuning(measurement(ALL[0], 150, 300), measurement(ALL[1], 100, 200), measurement(ALL[2], 300, 900, kl))
    choices = rank(ALL, facts(), found, SMALL)
    assert names(choices)[0] == best
    assert "measured" in choices[0].reason
    assert ("onnx-int4" in names(choices)) == (kl <= 0.02)


def test_an_engine_s_own_rounding_is_no_reason_to_serve_nothing() -> None:
    found = tuning(measurement(ALL[0], 150, 300, 0.03), measurement(ALL[1], 100, 200, 0.04), max_kl=0.0)
    assert names(rank(ALL, facts(), found, SMALL)) == ["gguf"]


def test_what_was_not_compared_with_its_source_is_as_before() -> None:
    unknown = [measurement(one, 100, 200).model_copy(update={"quality": None}) for one in ALL]
    assert set(names(rank(ALL, facts(), tuning(*unknown), SMALL))) == {"gguf", "onnx-exact"}


@pytest.mark.parametrize(
    "change", [{"prefill": 0}, {"prefill": float("nan")}, {"decode": {1: 5, 8: 5}}, {"threads": 0}, {"decode": {}}]
)
def test_a_tuning_that_cannot_be_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_tuning(tmp_path, tuning(measurement(ALL[0], 1, 2).model_copy(update=change)))
    assert path.is_file()
    assert read_tuning(tmp_path, "this device", "tiny") is None


def test_a_measurement_of_other_bytes_counts_for_nothing() -> None:
    stale = measurement(ALL[0], 900, 900).model_copy(update={"digest": "f" * 64})
    assert names(rank(ALL, facts(), tuning(stale), SMALL)) == ["onnx-exact", "gguf"]


def test_tunings_are_kept_by_device(tmp_path: Path) -> None:
    found = tuning(measurement(ALL[0], 1, 2))
    path = write_tuning(tmp_path, found)
    assert read_tuning(tmp_path, "this device", "tiny") == found
    assert read_tuning(tmp_path, "another device", "tiny") is None
    path.write_text("{")
    assert read_tuning(tmp_path, "this device", "tiny") is None
