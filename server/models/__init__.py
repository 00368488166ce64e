"""Which models there are, where their files come from, and the store that holds them."""
