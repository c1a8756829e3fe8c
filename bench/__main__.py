"""``python -m bench COMMAND``: see :data:`COMMANDS`."""

from __future__ import annotations

import importlib
import sys
from typing import Final

COMMANDS: Final = {
    "alert_latency": "from the frame to the sound in a real browser, stage by stage",
    "alert_wait": "what an alert waits for before its text may be believed",
    "conditions": "real plates made small, soft and dark, read by this reader and by fast-alpr",
    "crash": "kill -9 of the real daemon at random instants: nothing lost, nothing twice",
    "central_crash": "kill -9 of central while cars upload: nothing lost, nothing twice",
    "faults": "cameras, GPS, disk, clock, database and envelopes that fail: recovery and losses",
    "drives": "the whole road reader on thousands of plates of rendered test drives",
    "floors": "what thresholds of a sure reading cost, on drives kept for setting them",
    "soak": "the real daemon for a long time: does memory, do threads or files grow",
    "matching": "a list of millions of entries: import, load, look-up, delta",
    "purge": "the destruction of one hour among a million reads, on both databases",
    "poweroff": "hard power-offs of a guest that runs the installed car",
    "recognition": "this reader beside fast-alpr on the same frames",
}
"""Name of a command, which is a module of this package with ``main(argv) -> exit code``."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 where there is no such command."""
    words = sys.argv[1:] if argv is None else argv
    if words and not words[0].startswith("-"):
        words = [words[0].replace("-", "_"), *words[1:]]
    if not words or words[0] not in COMMANDS:
        lines = [f"  {name:<14}{what}" for name, what in COMMANDS.items()]
        usage = "usage: python -m bench COMMAND [options]\n\n" + "\n".join(lines) + "\n"
        asked = bool(words) and words[0] in {"-h", "--help"}
        (sys.stdout if asked else sys.stderr).write(usage)
        return 0 if asked else 2
    code: int = importlib.import_module(f"bench.{words[0]}").main(words[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
