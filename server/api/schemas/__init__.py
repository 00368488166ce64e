"""Wire schemas: what clients send and what they get, one file an endpoint family."""
