"""What the agency answers for: audits, compliance, breach file, reports, what waits."""
