"""What `cupola tune` does where things go wrong; on fakes, which need no weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.errors import LoadFailed
from server.hardware.place import Facts
from server.models.choice import Chooser
from server.models.registry import Registry
from server.models.store import Store
from server.models.tuning import Tuning, read_tuning
from server.settings import Settings
from server.tune.tuner import Tuner

from ..serving import pull

Tune = Callable[..., tuple[Tuning, list[str]]]


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    """Tune a model whose variants are fakes with the options given; the result and the warnings."""

    def run(name: str = "many", max_kl: float = 0.02, **variants: dict[str, Any]) -> tuple[Tuning, list[str]]:
        entries = []
        for variant, options in variants.items():
            (tmp_path / f"{variant}.json").write_text(json.dumps(options))
            source = {"type": "file", "path": str(tmp_path / f"{variant}.json")}
            entries.append({"name": variant, "format": "fake", "source": source})
        model = {"name": "many", "licence": "MIT", "context_length": 4096, "variants": entries}
        (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": [model]}))
        pull(tmp_path, *(f"many@{variant}" for variant in variants))
        facts = Facts({"fake": frozenset({"cpu"})}, {}, 10**12, {}, "this device")
        chooser = Chooser(Registry.load(tmp_path / "models.yaml"), Store(tmp_path), facts)
        warnings: list[str] = []
        tuner = Tuner(Settings(home=tmp_path, threads=1), chooser, lambda *_: None, warnings.append)
        return tuner.tune(name, max_kl=max_kl, create=True, report=lambda _: None), warnings

    return run


def test_the_fastest_comes_first_and_what_fails_is_told(tune: Tune, tmp_path: Path) -> None:
    slow, quick, bent = {"step_seconds": 0.004}, {"context": 4096}, {"fail_load": "The weights are bent."}
    found, warnings = tune(slow=slow, quick=quick, bent=bent)
    assert [one.variant for one in found.measurements] == ["quick", "slow"]
    assert found.measurements[1].decode[8] > 4 * found.measurements[1].decode[1]  # a step takes its time, not a row
    assert any("bent on fake" in text and "The weights are bent." in text for text in warnings)
    assert any("quality is not measured" in text for text in warnings)
    assert read_tuning(tmp_path, "this device", "many") == found


def test_a_part_that_is_tuned_again_keeps_the_rest(tune: Tune) -> None:
    both = {"slow": {"step_seconds": 0.004}, "quick": {"context": 4096}}
    before, _ = tune(**both)
    after, _ = tune("many@slow", **both)
    assert {one.variant for one in after.measurements} == {"slow", "quick"}
    kept, measured_again = (
        [next(one for one in found.measurements if one.variant == name) for found in (before, after)]
        for name in ("quick", "slow")
    )
    assert kept[0] == kept[1]
    assert measured_again[0] != measured_again[1]


def test_where_nothing_runs_nothing_is_written(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="No variant of many could be measured"):
        tune(bent={"fail_load": "The weights are bent."})
    assert read_tuning(tmp_path, "this device", "many") is None
