"""Commands of the reader's training: `python -m training.ocr pool|train|export|average|…`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from alprd.errors import AlprdError
from training.options import amount, count

MODELS = Path(__file__).parents[2] / "alprd" / "models"
WHOLE = Path(__file__).parents[1] / "weights" / "ocr.onnx"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.ocr", description=__doc__)
    parser.add_argument("--seed", type=int, default=13)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--data", type=Path, default=Path("../shared/data"))
        sub.add_argument(
            "--work", type=Path, default=Path("../train/ocr"), help="pool, checkpoints"
        )
        return sub

    pool = command("pool", "render and degrade crops into the pool until stopped")
    pool.add_argument("--minutes", type=float, help="stop after this long")
    train = command("train", "train on the pool; goes on from the last checkpoint")
    train.add_argument(
        "--minutes", type=amount, default=90, help="training time in all, resumed or not"
    )
    train.add_argument("--steps", type=count, help="steps in all, instead of minutes (comparisons)")
    train.add_argument("--batch", type=count, default=128)
    train.add_argument("--rate", type=amount, default=1.2e-3)
    train.add_argument("--threads", type=count, default=1)
    train.add_argument(
        "--start",
        type=Path,
        help="a whole ocr.onnx to go on from without a checkpoint, such as ours",
    )
    train.add_argument(
        "--without",
        action="append",
        default=[],
        choices=("rendered", "crops", "street", "negative"),
        help="ablation: leave a kind out (repeatable)",
    )
    for sub in (pool, train):
        sub.add_argument(
            "--strict-licences",
            action="store_true",
            help="leave out sources whose licence cannot be traced to the photographers",
        )
    export = command("export", "write the checkpoint's ONNX, configuration and SHA-256")
    export.add_argument("--out", type=Path, default=MODELS)
    export.add_argument(
        "--weights", type=Path, default=WHOLE, help="the whole network, to go on from"
    )
    export.add_argument("--float", dest="whole", action="store_true", help="ship without 8 bits")
    average = command("average", "mix a whole reader with one that went on from it")
    average.add_argument("--with", dest="second", type=Path, required=True, help="its whole file")
    average.add_argument("--share", type=float, default=0.5, help="of the second")
    average.add_argument("--model", type=Path, default=WHOLE)
    quantise = command("quantise", "write the shipped ocr.onnx from a whole one, in 8 bits")
    quantise.add_argument("--out", type=Path, default=MODELS)
    quantise.add_argument("--weights", type=Path, default=WHOLE, help="the whole network")
    evaluate = command("evaluate", "read every val split and print the figures")
    evaluate.add_argument("--model", type=Path, default=MODELS / "ocr.onnx")
    evaluate.add_argument("--rendered", type=int, default=2000, help="plates of unused type faces")
    evaluate.add_argument("--json", action="store_true")
    evaluate.add_argument("--card", type=Path, help="put the figures into this model card")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "pool":
            from training.ocr.pool import KINDS, Sources, fill

            rng = np.random.default_rng(options.seed)
            sources = Sources.load(options.data, strict=options.strict_licences, rng=rng)
            kinds = {k: n for k, n in KINDS.items() if k != "crops" or sources.crops}
            pool = options.work / "pool"
            made = fill(pool, sources, options.seed, minutes=options.minutes, kinds=kinds)
            print(f"{made} shards written")
        elif options.command == "train":
            from training.ocr.train import Plan, train

            train(
                options.work,
                Plan(
                    minutes=options.minutes,
                    steps=options.steps,
                    batch=options.batch,
                    rate=options.rate,
                    threads=options.threads,
                    seed=options.seed,
                    without=tuple(options.without),
                    start=options.start,
                    strict=options.strict_licences,
                ),
                data=options.data,
            )
        elif options.command == "export":
            from training.ocr.export import export

            print(export(options.work, options.out, options.weights, whole=options.whole))
        elif options.command == "average":
            from training.ocr.average import average

            print(average(options.model, options.second, options.share, options.model))
        elif options.command == "quantise":
            from training.ocr.eightbit import eight_bit

            print(eight_bit(options.weights, options.work / "pool", options.out))
        else:
            from training.ocr.evaluate import report, write_card

            text = report(options.model, options.data, options.rendered, as_json=options.json)
            print(text)
            if options.card is not None:
                write_card(options.card, text)
    except AlprdError as error:
        print(f"error: {error.diagnostics()}", file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the last checkpoint and all whole shards are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
