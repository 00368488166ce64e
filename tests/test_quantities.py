"""Durations and sizes as people write them."""

import pytest

from server.quantities import bytes_of, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("2.5", 2.5),
        (5, 5),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        (" 2 ", 2),
        ("1D", 86_400),
        ("-1", -1),
        ("-1m", -60),
        ("1e2", 100),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "m", "5 minutes", "5m3", "nan", "inf", "-inf", "1h-3m", "--5m", "5mm", True, None, [], 10**400, f"{10**400}s"],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        (7, 7),
        ("7B", 7),
        ("2GB", 2_000_000_000),
        ("2GiB", 2 << 30),
        ("2g", 2 << 30),
        ("1.5 MB", 1_500_000),
        ("512kib", 512 << 10),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "2XB", "2 GB 3", "1.5", "2.5B", 1.5, True, None, "9e9", f"{10**400}G"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        bytes_of(text)
