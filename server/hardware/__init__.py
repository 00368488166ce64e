"""What this device has. Each detector is a `read()` at the edge and a pure `parse(text)`."""
