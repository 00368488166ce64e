"""Of the answers to one prompt, those that are kept."""

import msgspec

from .answers import Unusable, Usable, check
from .journal import Reply
from .order import Order
from .prompts import Prompt
from .task import Task


class Rejected(msgspec.Struct, frozen=True):
    """A line of OUT.rejected.jsonl: what was not kept, and why."""

    id: str
    teacher: str
    reason: str
    detail: str
    text: str


class Party(msgspec.Struct, frozen=True):
    """Replies that say the same, the first of them and what the student learns of it."""

    replies: list[Reply]
    usable: Usable

    @property
    def key(self) -> str:
        return self.replies[0].key


class Vote(msgspec.Struct, frozen=True):
    """What came of a prompt. With a judge, several may be chosen of which one is to be kept."""

    prompt: Prompt
    chosen: list[Party]
    rejected: list[Rejected]


def rejections(prompt: Prompt, replies: list[Reply], reason: str, detail: str = "") -> list[Rejected]:
    return [Rejected(prompt.id, reply.teacher, reason, detail, reply.text) for reply in replies]


def elect(prompt: Prompt, replies: list[Reply], task: Task | None, order: Order) -> Vote:
    """The most common good answer. A tie between several teachers is nobody's, unless a judge can decide it."""
    parties: dict[str, Party] = {}
    rejected: list[Rejected] = []
    for reply in replies:
        try:
            usable = check(reply, prompt, task, order)
        except Unusable as wrong:
            rejected += rejections(prompt, [reply], wrong.reason, wrong.detail)
        else:
            parties.setdefault(usable.vote, Party([], usable)).replies.append(reply)
    chosen, reason = _winners(list(parties.values()), len(replies), order)
    for party in parties.values():
        if party not in chosen:
            rejected += rejections(prompt, party.replies, reason)
    return Vote(prompt, chosen, rejected)


def _winners(parties: list[Party], replies: int, order: Order) -> tuple[list[Party], str]:
    """Who wins, and what happened to the others."""
    if order.keep == "all" or not parties:
        return parties, ""
    most = max(len(party.replies) for party in parties)
    if most / replies < order.agreement:
        return [], "no agreement"
    best = [party for party in parties if len(party.replies) == most]
    if len(best) > 1 and order.judge is None:
        return ([], "tie") if len(order.teachers) > 1 else (best[:1], "outvoted")
    return best, "outvoted"
