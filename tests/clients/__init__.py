"""Clients that people use, each over a real socket: chat, streams, tools, structured output and errors."""
