"""Anthropic's Messages API: requests to conversations, turns to messages and events."""
