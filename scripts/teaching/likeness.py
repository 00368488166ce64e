"""Near-duplicates among short texts: Jaccard similarity of their sets of character 4-grams, exactly."""

import re
from collections import Counter, defaultdict

GRAM = 4


def grams(text: str) -> frozenset[str]:
    """Of the letters and digits of a text, in lower case, one space between words."""
    plain = " ".join(re.findall(r"\w+", text.casefold()))
    return frozenset(plain[at : at + GRAM] for at in range(max(1, len(plain) - GRAM + 1)))


class Known:
    """Texts by their grams. A search looks only at texts that share one."""

    def __init__(self, likeness: float) -> None:
        self._likeness = likeness
        self._sizes: list[int] = []
        self._with: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, text: str) -> bool:
        """False, and nothing is added, when a text at least so alike is known."""
        found = grams(text)
        shared = Counter[int]()
        for gram in found:
            shared.update(self._with.get(gram, ()))
        size = len(found)
        if any(both / (size + self._sizes[other] - both) >= self._likeness for other, both in shared.items()):
            return False
        for gram in found:
            self._with[gram].append(len(self._sizes))
        self._sizes.append(size)
        return True
