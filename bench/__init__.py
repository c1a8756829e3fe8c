"""Benchmarks: commands, never timed tests, that print what they saw on this machine.

Nothing here is imported by the product. Decision record 0013 says what is compared and why.
"""

import alprd as _alprd  # its import keeps the inference runtime from reporting to its maker

__all__: list[str] = []
del _alprd
