"""Responses that are kept, so that a later request can go on from them. Pure."""

from dataclasses import dataclass, field
from typing import Self

from ...errors import NotFound
from ..schemas.responses_answer import ResponseBody
from ..schemas.responses_items import KEPT_ITEMS, Item


def not_found(response_id: str, param: str | None = None) -> NotFound:
    return NotFound(
        f"There is no response '{response_id[:80]}'. It was not stored, was deleted, or made room for newer ones.",
        param=param,
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A response that has ended, as JSON, and all items that it was made from, those of earlier responses too.

    Each has its whole history, so a conversation goes on when its beginning is deleted. JSON is a fraction of what
    objects take, and its length is known.
    """

    response: bytes
    items: bytes
    brought: frozenset[str] = field(default_factory=frozenset)
    """Ids of the items that came with this response: what was sent, what was answered."""

    @classmethod
    def of(cls, response: ResponseBody, items: list[Item], sent: int) -> Self:
        """`sent` says how many items, from the end, the request itself had."""
        fresh = [*items[len(items) - sent :], *response.output]
        return cls(
            response.model_dump_json().encode(), KEPT_ITEMS.dump_json(items), frozenset(item.id for item in fresh)
        )

    @property
    def size(self) -> int:
        return len(self.response) + len(self.items)

    def body(self) -> ResponseBody:
        return ResponseBody.model_validate_json(self.response)

    def given(self) -> list[Item]:
        """The items it was made from, oldest first."""
        return KEPT_ITEMS.validate_json(self.items)

    def history(self) -> list[Item]:
        """All there is to go on from, oldest first."""
        return [*self.given(), *self.body().output]


class ResponseStore:
    """At most so many responses, and bytes of them. The oldest make room. Used by the event loop only."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: dict[str, Kept] = {}  # oldest first
        self._places: dict[str, str] = {}  # of an item, by its id: the response that brought it
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        return self._bytes

    def put(self, response_id: str, kept: Kept) -> None:
        """Keep it. What alone is larger than all that may be kept is not."""
        self._kept[response_id] = kept
        self._places |= dict.fromkeys(kept.brought, response_id)
        self._bytes += kept.size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self.drop(next(iter(self._kept)))

    def get(self, response_id: str, param: str | None = None) -> Kept:
        """Raises NotFound."""
        try:
            return self._kept[response_id]
        except KeyError:
            raise not_found(response_id, param) from None

    def drop(self, response_id: str) -> None:
        """Raises NotFound."""
        kept = self.get(response_id)
        del self._kept[response_id]
        self._bytes -= kept.size
        for item_id in kept.brought:
            if self._places.get(item_id) == response_id:
                del self._places[item_id]

    def item(self, item_id: str) -> Item:
        """An item of a kept response. Raises NotFound."""
        place = self._places.get(item_id)
        found = self._kept[place].history() if place else []
        for item in found:
            if item.id == item_id:
                return item
        raise NotFound(f"input: there is no item '{item_id[:80]}' in a stored response.", param="input")
