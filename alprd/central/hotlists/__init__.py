"""From a supplier's file to a list in use: import, gate, categories, additional entries."""
