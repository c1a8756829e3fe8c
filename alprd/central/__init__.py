"""Central storage: the agency's own store of reads and its administration."""
