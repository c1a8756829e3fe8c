"""What the cars bring: sealed batches, reports, and their API."""
