"""Command line: ``python -m training.detector pool|train|review|export|average|…``."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import track

from alprd.errors import AlprdError
from alprd.models import write_sums
from training.detector import export, pool, recount, report, store
from training.detector.drives import SEEDS, drive_frames
from training.detector.evaluate import OnnxDetector, Tally, letterbox
from training.detector.network import NetworkConfig, PlateDetector
from training.detector.review import review
from training.detector.scenes import Mix
from training.detector.train import Schedule, load_average, load_checkpoint, train
from training.options import amount, count, share
from training.weights import FOLDER, mix_weights, read_weights, write_weights

MODELS = Path(__file__).resolve().parents[2] / "alprd" / "models"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.detector", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    work = argparse.ArgumentParser(add_help=False)
    work.add_argument("--work", type=Path, default=Path("build/detector"), help="working folder")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", type=Path, required=True, help="folder with SOURCES.md")
    data.add_argument("--threads", type=count, default=1)
    models = argparse.ArgumentParser(add_help=False)
    models.add_argument("--models", type=Path, default=MODELS, help="folder of detector.onnx")

    pools = commands.add_parser(
        "pool", parents=[work, data], help="render plates and street scenes"
    )
    pools.add_argument("--plates", type=int, default=2_500)
    pools.add_argument("--crops", type=int, default=1_500, help="real frontal crops to paste")
    pools.add_argument("--frames", type=int, default=1_500)

    training = commands.add_parser("train", parents=[work, data], help="train or go on")
    training.add_argument("--minutes", type=amount, default=120, help="in all, resumed or not")
    training.add_argument("--steps", type=count, help="in all, instead of minutes (comparisons)")
    training.add_argument("--cooldown", type=share, default=0.5, help="share with falling rate")
    training.add_argument(
        "--start", type=Path, help="weights to go on from without a checkpoint, such as ours"
    )
    training.add_argument("--batch", type=count, default=16)
    training.add_argument("--rate", type=amount, default=1.5e-3)
    training.add_argument("--seed", type=int, default=1)
    training.add_argument(
        "--strict-licences", action="store_true", help="only sources with a traceable licence"
    )
    training.add_argument(
        "--without",
        choices=("frames", "pasted", "lettering"),
        action="append",
        default=[],
        help="ablation: leave out rendered street scenes, plates set into photographs, or the "
        "lettering painted as a negative (repeatable)",
    )

    commands.add_parser(
        "review", parents=[work, models], help="set doubtful labels aside with a trained detector"
    )
    out = commands.add_parser(
        "export", parents=[work, data, models], help="write detector.onnx and detector.yaml"
    )
    out.add_argument(
        "--weights", type=Path, help="also write the weights here, for a later `train --start`"
    )
    out.add_argument(
        "--of", type=Path, help="a file of weights to write, in place of the checkpoint's"
    )
    out.add_argument("--float", action="store_true", help="leave the convolutions in float32")
    out.add_argument(
        "--calibrate-every", type=int, default=25, help="every n-th training photograph"
    )

    average = commands.add_parser(
        "average", help="mix weights with those of a run gone on from them"
    )
    average.add_argument("--with", dest="second", type=Path, required=True, help="its weights")
    average.add_argument("--share", type=float, default=0.5, help="of the second")
    average.add_argument("--weights", type=Path, default=FOLDER / "detector.pt")
    average.add_argument("--out", type=Path, help="where to write (as --weights)")

    check = commands.add_parser("evaluate", parents=[data, models], help="figures on detect/val")
    check.add_argument("--no-drives", action="store_true", help="photographs only")
    check.add_argument("--json", action="store_true")
    check.add_argument("--card", type=Path, help="model card to write the figures into")
    return parser


def _export(args: argparse.Namespace) -> None:
    checkpoint = args.work / "last.pt"
    if args.of is None:
        network = load_average(checkpoint)
        state = load_checkpoint(checkpoint)
        run = {"steps": int(state["step"]), "minutes": round(state["minutes"])}
    else:
        network = PlateDetector(NetworkConfig())
        read_weights(args.of, network)
        run = {"of": f"{args.of.name}, see the card"}
    pictures = list(store.read_split(args.data, "train"))[:: args.calibrate_every]
    sizes = itertools.cycle(report.PROFILES.values())
    inputs = (
        letterbox(p.pixels, *size, square=False)[0]
        for p, size in zip(pictures, sizes, strict=False)
    )
    graph = export.build(network) if args.float else export.quantised(network, inputs)
    args.models.mkdir(parents=True, exist_ok=True)
    # Measured beside what ships, which is replaced when everything is there.
    with tempfile.TemporaryDirectory(dir=args.models, prefix=".export-") as folder:
        aside = Path(folder)
        export.write(graph, aside / "detector.onnx")
        _, tallies = report.measure(args.data, aside, threads=args.threads, peer=False)
        if not any(tally.recall(export.MIN_SCORE) for tally in tallies.values()):
            raise ValueError("the detector finds nothing on detect/val: its weights are spoilt")
        found = {name: tallies[name].threshold_for(report.FALSE_GOAL) for name in report.PROFILES}
        report.write_sheet(aside, found, run)
        if args.weights:
            write_weights(args.weights, network.state_dict())
        for name in ("detector.onnx", "detector.yaml"):
            (aside / name).replace(args.models / name)
        write_sums(args.models)
    print(f"{args.models / 'detector.onnx'}: {run}, thresholds {found}")


def _rows(
    sheet: dict[str, Any], found: tuple[dict[str, OnnxDetector], dict[str, Tally]]
) -> list[report.Figures]:
    detectors, tallies = found
    rows = []
    for name, tally in tallies.items():
        if name == "peer":
            threshold = report.PEER_THRESHOLD
        else:
            threshold = float(sheet["profiles"][name]["threshold"])
        rows.append(report.figures(_label(name), detectors[name], tally, threshold))
    return rows


def _label(name: str) -> str:
    return "YOLOv9-t 416 int8 (peer)" if name == "peer" else f"alprd {name}"


def _evaluate(args: argparse.Namespace) -> None:
    sheet = report.read_sheet(args.models)
    doubted = recount.read_recount()  # before the minute of work
    pictures = list(store.read_split(args.data, "val"))
    aside = recount.set_aside(pictures, doubted)
    detectors, tallies = report.measure(
        args.data, args.models, threads=args.threads, pictures=pictures
    )
    again = {name: recount.recounted(tally, aside) for name, tally in tallies.items()}
    photos = _rows(sheet, (detectors, tallies))
    sets = {"photographs": photos, "photographs_recounted": _rows(sheet, (detectors, again))}
    text = [
        "Photographs of detect/val:",
        "",
        report.table(photos),
        "",
        "Recall at IoU 0.5 by width of the plate in the photograph (number of plates):",
        "",
        report.band_table(photos),
        "",
        "Recall at IoU 0.5 at false boxes a picture, and the same recounted (below):",
        "",
        recount.table(tallies, again, detectors, {name: _label(name) for name in detectors}),
    ]
    if not args.no_drives:
        frames = [
            frame
            for seed in track(SEEDS, "rendering drives", console=Console(stderr=True))
            for frame in drive_frames(seed)
        ]
        drives = _rows(
            sheet,
            report.measure(args.data, args.models, threads=args.threads, pictures=frames),
        )
        sets["drives"] = drives
        text += [
            "",
            f"{len(frames)} frames (1280x720) of {len(SEEDS)} rendered test drives:",
            "",
            report.table(drives),
            "",
            "Recall at IoU 0.5 by width of the plate in the frame (number of plates):",
            "",
            report.band_table(drives),
        ]
    joined = "\n".join(text)
    print(report.as_json(sets) if args.json else joined)
    if args.card:
        report.update_card(args.card, joined)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = _parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        if args.command == "pool":
            pool.fill(
                args.work, args.data, plates=args.plates, crops=args.crops, frames=args.frames
            )
        elif args.command == "train":
            schedule = Schedule(
                minutes=args.minutes,
                steps=args.steps,
                cooldown=args.cooldown,
                batch=args.batch,
                rate=args.rate,
                seed=args.seed,
            )
            path = train(
                args.data,
                args.work,
                schedule,
                mix=Mix().without(args.without),
                strict=args.strict_licences,
                threads=args.threads,
                start=args.start,
            )
            print(f"checkpoint: {path}")
        elif args.command == "review":
            print(review(args.work, args.models / "detector.onnx"))
        elif args.command == "export":
            _export(args)
        elif args.command == "average":
            print(mix_weights(args.weights, args.second, args.share, args.out or args.weights))
        else:
            _evaluate(args)
    except AlprdError as exc:
        print(exc.diagnostics(), file=sys.stderr)
        return exc.exit_code
    except (OSError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what ships and the last checkpoint are as they were", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
