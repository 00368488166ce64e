"""What Foundry Local's clients ask for and are told. No code of Microsoft's is here."""
