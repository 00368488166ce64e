"""Tests of `server.models.sources`."""
