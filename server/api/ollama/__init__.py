"""Ollama's API: requests to conversations, turns to lines of JSON, models as its clients list them."""
