"""Joules from a powercap tree and from NVIDIA's library, and whose they are."""

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from server.metrics.energy import Energy, Look, Powercap, shares
from server.metrics.nvml import Gpus
from server.metrics.picture import LoadedModel, Picture


def zone(root: Path, folder: str, name: str, microjoules: int, span: int = 1_000_000_000) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{span}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    return place / "energy_uj"


def test_packages_are_counted_once_and_past_their_range(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 900_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    source = Powercap(tmp_path)
    assert source.read() == {"package-0": 0.0, "package-1": 0.0}
    first.write_text("950000000")
    second.write_text("2500000")
    assert source.read() == {"package-0": pytest.approx(50.0), "package-1": pytest.approx(2.5)}
    first.write_text("100000000")  # it began anew at 1,000 J
    assert source.read()["package-0"] == pytest.approx(200.0)


def test_what_cannot_be_read_is_said_once_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    zone(tmp_path, "intel-rapl:1", "package-1", 5)
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("nonsense")
    with caplog.at_level(logging.INFO):
        source = Powercap(tmp_path)
        assert source.read().keys() == {"package-0"}
        gone.unlink()
        assert source.read() == {}
        assert source.read() == {}
    assert len(caplog.records) == 2
    assert Powercap(tmp_path / "nowhere").read() == {}


def test_shares_follow_the_busy_processor_time() -> None:
    before = Look({("one", False): 10.0, ("two", False): 5.0}, 100.0)
    now = Look({("one", False): 13.0, ("two", False): 6.0, ("new", False): 1.0}, 110.0)
    # 3, 1 and 1 of 10 busy seconds; the other five belong to nobody here.
    assert shares(before, now, cpu=50.0, gpu=0.0) == {"one": 15.0, "two": 5.0, "new": 5.0}


def test_a_worker_that_was_replaced_counts_from_its_own_start() -> None:
    before, now = Look({("one", False): 90.0}, 0.0), Look({("one", False): 2.0}, 4.0)
    assert shares(before, now, cpu=8.0, gpu=0.0) == {"one": 4.0}


def test_no_more_is_shared_than_there_was() -> None:
    before, now = Look({}, 0.0), Look({("one", False): 6.0, ("two", False): 2.0}, 1.0)  # clocks of different grain
    assert shares(before, now, cpu=8.0, gpu=0.0) == {"one": 6.0, "two": 2.0}
    assert shares(now, now, cpu=8.0, gpu=8.0) == {"one": 0.0, "two": 0.0}


def test_a_gpu_is_shared_by_the_workers_on_gpus() -> None:
    before = Look({}, 0.0)
    now = Look({("one", True): 1.0, ("two", True): 3.0, ("three", False): 4.0}, 8.0)
    assert shares(before, now, cpu=0.0, gpu=100.0) == {"one": 25.0, "two": 75.0, "three": 0.0}


def test_models_get_theirs_between_two_looks() -> None:
    joules = {"package-0": 100.0}
    energy = Energy(SimpleNamespace(read=lambda: dict(joules)), SimpleNamespace(read=dict))
    energy.sample(picture(1.0))
    joules["package-0"] = 130.0
    energy.sample(picture(3000.0))  # more than the device was busy, so all of it
    assert energy.domains == {"package-0": 130.0}
    assert energy.models == {"one": pytest.approx(30.0)}
    energy.sample(picture(3000.0))
    assert energy.models == {"one": pytest.approx(30.0)}


def picture(seconds: float) -> Picture:
    return Picture([LoadedModel("one", "v", "1", "fake", "none", "cpu", False, True, 0, False, 1, 1, 1, seconds)])


class NoDriver(Exception):
    """What the library raises."""


def library(millijoules: list[int]) -> ModuleType:
    made = ModuleType("pynvml")

    def consumed(index: int) -> int:
        if millijoules[index] < 0:
            raise NoDriver("not supported")
        return millijoules[index]

    for name, value in {
        "NVMLError": NoDriver,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(millijoules),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetTotalEnergyConsumption": consumed,
    }.items():
        setattr(made, name, value)
    return made


def test_gpus_that_count_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    millijoules = [5_000, -1]
    monkeypatch.setitem(sys.modules, "pynvml", library(millijoules))
    gpus = Gpus()
    assert gpus.read() == {"gpu-0": 0.0}
    millijoules[0] = 7_500
    assert gpus.read() == {"gpu-0": pytest.approx(2.5)}


def test_without_a_library_or_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus().read() == {}
    dead = library([])

    def refuse() -> None:
        raise NoDriver("no driver")

    monkeypatch.setattr(dead, "nvmlInit", refuse)
    monkeypatch.setitem(sys.modules, "pynvml", dead)
    assert Gpus().read() == {}
