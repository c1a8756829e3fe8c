"""``alprd-central`` on the command line."""
