"""Tests of `server.models`."""
