"""Data for training and measuring: read, checked, without duplicates, divided, and described by a card."""
