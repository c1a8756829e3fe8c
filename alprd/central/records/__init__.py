"""The life of a read beyond its day: links, holds, confidentiality, schedule, ledger."""
