"""Write the whole network to go on from, and the shipped `ocr.onnx`, `ocr.yaml`, `SHA256SUMS`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import onnxslim
import torch
import yaml

from alprd.models import write_sums
from training.files import replace
from training.ocr.eightbit import eight_bit
from training.ocr.labels import REGIONS
from training.ocr.layout import ALPHABET, HEIGHT, PAD, PLATE_SLOTS, WIDTH
from training.ocr.network import Exported, PlateReader
from training.ocr.train import load
from training.quantise import halve
from training.weights import put_weights

OPSET = 17
OUTPUTS = ["plate", "region", "stacked"]
# The exported graph may differ from the network by the rounding of its weights to float16 only.
TOLERANCE = 2e-2


def config() -> dict[str, object]:
    """What fast-plate-ocr needs to know of the model."""
    return {
        "max_plate_slots": PLATE_SLOTS,
        "alphabet": ALPHABET,
        "pad_char": ALPHABET[PAD],
        "img_height": HEIGHT,
        "img_width": WIDTH,
        "keep_aspect_ratio": False,
        "interpolation": "linear",
        "image_color_mode": "rgb",
        "plate_regions": list(REGIONS),
    }


def export(work: Path, out: Path, weights: Path, *, whole: bool = False) -> str:
    """Export the averaged weights of the last checkpoint of `work` into `out`.

    The graph is run beside the network on random pictures, alone and in a batch, and written to
    the file `weights`; what ships in `out` is the same in 8 bits, or `whole`.

    Returns:
        a line that says what was written.

    Raises:
        FileNotFoundError: no checkpoint, or no crops to calibrate on.
        ValueError: the checkpoint is damaged, or graph and network, or both graphs, disagree;
            nothing shipped is then replaced.
    """
    state = load(work)
    reader = PlateReader(len(REGIONS))
    put_weights(reader, state["averaged"], work / "checkpoint.pt")
    model = Exported(reader).eval()
    example = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    for folder in (out, weights.parent):
        folder.mkdir(parents=True, exist_ok=True)
    raw = out / "ocr.raw.onnx.tmp"
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated but needs no further package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(raw),
            input_names=["input"],
            output_names=OUTPUTS,
            dynamic_axes={name: {0: "batch"} for name in ["input", *OUTPUTS]},
            opset_version=OPSET,
            dynamo=False,
        )
    slim = onnxslim.slim(onnx.load(str(raw)))
    raw.unlink()
    halve(slim)
    slim.metadata_props.add(key="steps", value=str(state["step"]))
    data = slim.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    for n in (1, 5):
        images = np.random.default_rng(n).integers(0, 256, (n, HEIGHT, WIDTH, 3), np.uint8)
        with torch.no_grad():
            expected = [part.numpy() for part in model(torch.from_numpy(images))]
        for name, a, b in zip(
            OUTPUTS, session.run(OUTPUTS, {"input": images}), expected, strict=True
        ):
            if not (worst := float(np.abs(a - b).max())) <= TOLERANCE:
                raise ValueError(f"output {name!r} differs from the network by {worst:.1e}")
    # The whole one is put aside first: where the 8-bit one fails, nothing has been replaced.
    aside = weights.with_suffix(".onnx.new")
    aside.write_bytes(data)
    try:
        if whole:
            replace(out / "ocr.onnx", data)
            said = f"ocr.onnx: {len(data) / 1e6:.2f} MB"
        else:
            said = eight_bit(aside, work / "pool", out)
        aside.replace(weights)
    finally:
        aside.unlink(missing_ok=True)
    (out / "ocr.yaml").write_text(
        "# Read by fast-plate-ocr beside ocr.onnx; written by `python -m training.ocr export`.\n"
        + yaml.safe_dump(config(), sort_keys=False, default_flow_style=None, width=98),
        encoding="utf-8",
    )
    write_sums(out)
    return f"{said}, step {state['step']}, {state['spent'] / 60:.0f} min of training"
