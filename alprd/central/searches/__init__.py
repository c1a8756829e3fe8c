"""The documented search and its results."""
