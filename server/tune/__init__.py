"""`cupola tune`: which variant and thread setting is fastest on this device, among those close enough to the source."""
