"""What both sides of a comparison run: the same prompts, token counts and threads."""

import json
from dataclasses import asdict, dataclass

TOPICS = "the sea, old maps, winter, bread, a lighthouse, clockwork, tea, the desert, owls, a long train journey".split(
    ", "
)


@dataclass(frozen=True, slots=True)
class Workload:
    """`streams` sequences that start together; each has its own prompt and gets `tokens` tokens, greedily."""

    streams: int
    tokens: int
    threads: int

    @property
    def prompts(self) -> list[str]:
        return [
            f"Number {i}. Here is a short essay about {TOPICS[i % len(TOPICS)]}, written for readers who know little"
            " about it and would like to know why people care:\n\n"
            for i in range(self.streams)
        ]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        return cls(**json.loads(text))
