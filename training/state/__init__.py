"""Training of the state classifier: which jurisdiction issued the plate of a crop."""
