"""Numbers that belong together: connected components (union by the smaller number, with path halving)."""

from array import array


class Components:
    """Every number starts alone; the root of a component is its smallest."""

    def __init__(self) -> None:
        self._parents = array("L")

    def add(self) -> None:
        self._parents.append(len(self._parents))

    def root(self, number: int) -> int:
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first
