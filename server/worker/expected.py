"""Requests between the pipe and the thread that computes. Pure."""


class Expected:
    """Those that a helper prepares, and those of them that were cancelled meanwhile. One thread is its only user."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._unwanted: set[str] = set()

    def add(self, request_id: str) -> None:
        self._wanted.add(request_id)

    def cancel(self, request_id: str) -> bool:
        """Whether the request is still with a helper; then it is forgotten when it comes."""
        if request_id not in self._wanted:
            return False
        self._wanted.remove(request_id)
        self._unwanted.add(request_id)
        return True

    def arrived(self, request_id: str) -> bool:
        """Note that a request came, from a helper or without one; False if it was cancelled before."""
        wanted = request_id not in self._unwanted
        self._wanted.discard(request_id)
        self._unwanted.discard(request_id)
        return wanted
