"""The HTTP border: wire schemas in, `types.Request` through, deltas out. One file an endpoint family in `routes`."""
