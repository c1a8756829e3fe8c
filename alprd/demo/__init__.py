"""``alprd demo``: a whole patrol on this machine, on invented plates, with a scorecard."""
