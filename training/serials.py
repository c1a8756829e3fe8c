"""How each state orders letters and digits: `python -m training.serials --data DATA`.

Counts the labelled plates of `us-crops` (training split) by state, for `alprd.serials`. Orders
seen once in a state are left out there (vanity plates), so the file holds no plate's text, only
how many plates had letters and digits in which places.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from alprd.models import write_sums
from alprd.serials import FILE, order_of
from training.ocr.labels import Sample, us_crops

FEWEST = 2


def counts(samples: list[Sample]) -> dict[str, Any]:
    """The table of `alprd.serials.Serials`, by state."""
    table: dict[str, Any] = {}
    for state in sorted({s.region for s in samples if s.region}):
        texts = [s.text for s in samples if s.region == state]
        orders = Counter(order_of(text) for text in texts)
        chars = Counter("".join(texts))
        table[state] = {
            "orders": {o: n for o, n in sorted(orders.items()) if n >= FEWEST},
            "letters": sum(n for c, n in chars.items() if c.isalpha()),
            "digits": sum(n for c, n in chars.items() if c.isdigit()),
            "O": chars["O"],
            "0": chars["0"],
        }
    return table


def main(arguments: list[str] | None = None) -> int:
    """Write the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.serials", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with SOURCES.md")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    try:
        samples = us_crops(options.data, "train")
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = counts(samples)
    rows = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items())
    temporary = options.out.with_suffix(".tmp")
    temporary.write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    os.replace(temporary, options.out)  # noqa: PTH105 - one atomic step
    if options.out == FILE:
        write_sums(FILE.parent)
    print(f"{options.out.name}: {len(samples)} plates of {len(table)} states")
    return 0


if __name__ == "__main__":
    sys.exit(main())
