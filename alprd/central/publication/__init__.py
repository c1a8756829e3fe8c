"""What the cars are given: the signed repository and the ceremony of its keys."""
