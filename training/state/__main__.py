"""Training of the state classifier: `python -m training.state pool|train|export|average|…`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from alprd.errors import AlprdError
from training.options import amount, count

MODELS = Path(__file__).parents[2] / "alprd" / "models"
WEIGHTS = Path(__file__).parents[1] / "weights" / "state.pt"
# A crop is 2.25 times as large as the reader's, and text does not matter: fewer will do.
KINDS = {"rendered": 24, "crops": 40, "street": 8}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.state", description=__doc__)
    parser.add_argument("--seed", type=int, default=17)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--data", type=Path, default=Path("../shared/data"))
        sub.add_argument("--work", type=Path, default=Path("../train/state"))
        return sub

    pool = command("pool", "render and degrade crops into the pool until stopped")
    pool.add_argument("--minutes", type=float, help="stop after this long")
    train = command("train", "train on the pool; goes on from the last checkpoint")
    train.add_argument("--minutes", type=amount, default=60, help="in all, resumed or not")
    train.add_argument("--steps", type=count, help="steps in all, instead of minutes (comparisons)")
    train.add_argument("--batch", type=count, default=64)
    train.add_argument("--rate", type=amount, default=2e-3)
    train.add_argument("--threads", type=count, default=1)
    train.add_argument("--start", type=Path, help="weights to go on from without a checkpoint")
    train.add_argument(
        "--without",
        action="append",
        default=[],
        choices=("rendered", "crops", "street"),
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
    export.add_argument("--weights", type=Path, help="also write weights for `train --start`")
    export.add_argument("--of", type=Path, help="weights to write in place of the checkpoint's")
    average = command("average", "mix weights with those of a run gone on from them")
    average.add_argument("--with", dest="second", type=Path, required=True, help="its weights")
    average.add_argument("--share", type=float, default=0.5, help="of the second")
    average.add_argument("--weights", type=Path, default=WEIGHTS)
    average.add_argument("--out", type=Path, help="where to write (as --weights)")
    evaluate = command("evaluate", "tell the state of every val split and print the figures")
    evaluate.add_argument("--models", type=Path, default=MODELS)
    evaluate.add_argument("--rendered", type=int, default=1000, help="plates of unused type faces")
    evaluate.add_argument("--json", action="store_true")
    evaluate.add_argument("--card", type=Path, help="put the figures into this model card")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "pool":
            from training.ocr.labels import us_states
            from training.ocr.pool import Sources, fill
            from training.state.network import HEIGHT, WIDTH

            rng = np.random.default_rng(options.seed)
            sources = Sources.load(options.data, strict=options.strict_licences, rng=rng)
            crops = [] if options.strict_licences else us_states(options.data, "train")
            sources = replace(sources, crops=crops, size=(HEIGHT, WIDTH))
            kinds = {k: n for k, n in KINDS.items() if k != "crops" or crops}
            folder = options.work / "pool"
            made = fill(folder, sources, options.seed, minutes=options.minutes, kinds=kinds)
            print(f"{made} shards written")
        elif options.command == "train":
            from training.state.train import Plan, train

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
            from training.state.export import export

            print(export(options.work, options.out, options.weights, options.of))
        elif options.command == "average":
            from training.weights import mix_weights

            out = options.out or options.weights
            print(mix_weights(options.weights, options.second, options.share, out))
        else:
            from training.ocr.evaluate import write_card
            from training.state.evaluate import report

            text = report(options.models, options.data, options.rendered, as_json=options.json)
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
