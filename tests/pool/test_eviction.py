"""Who goes for whom."""

from server.pool.eviction import Candidate, choose_victims


def names(lacking: int, *candidates: Candidate, places: int = 0) -> list[str] | None:
    chosen = choose_victims(candidates, lacking, places)
    return None if chosen is None else [candidate.key for candidate in chosen]


def test_nobody_goes_where_there_is_room() -> None:
    assert names(0, Candidate("a", 10, 1, 100)) == []
    assert names(-5, Candidate("a", 10, 1, 100)) == []


def test_idle_time_counts_against_what_it_costs_to_have_a_model_again() -> None:
    slow, quick = Candidate("slow", idle=60, reload=30, frees=100), Candidate("quick", idle=20, reload=1, frees=100)
    assert names(50, slow, quick) == ["quick"]
    assert names(150, slow, quick) == ["quick", "slow"]


def test_no_more_go_than_it_takes() -> None:
    small, large = Candidate("small", idle=90, reload=1, frees=10), Candidate("large", idle=50, reload=1, frees=200)
    assert names(150, small, large) == ["large"]


def test_not_enough_is_said() -> None:
    assert names(101, Candidate("a", 10, 1, 100)) is None
    assert names(0, places=1) is None


def test_a_place_counts_like_memory() -> None:
    assert names(0, Candidate("a", 10, 1, 0), Candidate("b", 20, 1, 0), places=1) == ["b"]


def test_what_loads_at_once_is_no_division_by_zero() -> None:
    assert names(1, Candidate("a", 1, 0, 5), Candidate("b", 2, 0, 5)) == ["b"]
