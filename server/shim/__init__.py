"""The `foundry` command, for what was written for Foundry Local: its words in, its words out, Cupola behind them."""
