"""Fuzzers of what reads bytes from outside: ``python -m fuzz [nmea envelope config image]``.

Each input is made from good seeds by grammar and by damage (:mod:`fuzz.mutate`), from a random
generator seeded with the run's seed and the input's number: any input can be made again. It is
given to the code that the product runs (:mod:`fuzz.harness`). A *crash* is an exception that the
code does not document, an answer that breaks what the code promises, more than two seconds of
processor time, memory over the target's bound, or the death of the process.
"""
