"""The Responses API over turns: history in, items and events out, and what is kept of both."""
