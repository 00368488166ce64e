"""What is kept of responses, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.responses.store import Kept, ResponseStore
from server.api.schemas.responses_items import InputMessage, Item, OutputMessage
from server.errors import NotFound

from .responding import draft


def kept(number: int, size: int = 1) -> Kept:
    given: list[Item] = [InputMessage.model_validate({"id": f"msg_in{number}", "role": "user", "content": "x" * size})]
    answer = OutputMessage.model_validate({"id": f"msg_out{number}", "content": "y"})
    return Kept.of(draft(id=f"resp_{number}", status="completed", output=[answer]), given, sent=1)


def test_what_is_kept_comes_back_as_it_was() -> None:
    store = ResponseStore(2, 10**6)
    store.put("resp_1", kept(1))
    assert [item.id for item in store.get("resp_1").history()] == ["msg_in1", "msg_out1"]
    assert store.get("resp_1").body().status == "completed"
    assert store.item("msg_in1").type == "message"
    assert isinstance(store.item("msg_out1"), OutputMessage)


def test_the_oldest_makes_room_and_takes_its_items_along() -> None:
    store = ResponseStore(2, 10**6)
    for number in range(3):
        store.put(f"resp_{number}", kept(number))
    assert len(store) == 2
    for look in (lambda: store.get("resp_0"), lambda: store.item("msg_out0"), lambda: store.drop("resp_0")):
        with pytest.raises(NotFound):
            look()


def test_what_is_larger_than_the_store_is_not_kept() -> None:
    store = ResponseStore(9, 5000)
    store.put("resp_1", kept(1, 6000))
    assert len(store) == store.bytes == 0


def test_an_item_that_was_sent_again_is_found_with_the_newer_response() -> None:
    store = ResponseStore(9, 10**6)
    store.put("resp_1", kept(1))
    store.put("resp_2", kept(1))
    store.drop("resp_1")
    assert store.item("msg_in1").id == "msg_in1"


@given(st.lists(st.tuples(st.integers(1, 3000), st.booleans()), max_size=30))
def test_bounds_hold_whatever_comes(steps: list[tuple[int, bool]]) -> None:
    store = ResponseStore(5, 6000)
    present: dict[str, int] = {}
    for number, (size, drop) in enumerate(steps):
        if drop and present and (name := next(iter(present))) and name in store._kept:
            store.drop(name)
        one = kept(number, size)
        store.put(f"resp_{number}", one)
        present[f"resp_{number}"] = one.size
        present = {name: size for name, size in present.items() if name in store._kept}
        assert len(store) == len(present) <= 5
        assert store.bytes == sum(present.values()) <= 6000
        assert len(store._places) == 2 * len(present)
