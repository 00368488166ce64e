"""One file an endpoint family; each has a `router`."""
