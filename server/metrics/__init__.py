"""What is counted and measured: plain numbers, written by the meter alone, and read by those who export them."""
