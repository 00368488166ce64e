"""Which models are loaded, who waits for them, and who must go when another is asked for."""
