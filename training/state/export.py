"""Write the shipped files: `state.onnx`, `state.yaml` and their lines in `SHA256SUMS`."""

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
from training.ocr.export import OPSET, TOLERANCE
from training.ocr.labels import REGIONS
from training.ocr.train import read_checkpoint
from training.quantise import halve
from training.state.network import HEIGHT, WIDTH, Exported, StateClassifier
from training.weights import put_weights, read_weights, write_weights


def export(work: Path, out: Path, weights: Path | None = None, of: Path | None = None) -> str:
    """Export the averaged weights of the last checkpoint of `work`, or the file `of`, into `out`.

    The written graph is run beside the network on random pictures, alone and in a batch. The
    weights are also written to the file `weights`, if named, to go on from.

    Returns:
        a line that says what was written.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: it, or `of`, is damaged, or graph and network disagree; nothing is then
            replaced.
    """
    classifier = StateClassifier(len(REGIONS))
    if of is None:
        state = read_checkpoint(work / "checkpoint.pt")
        put_weights(classifier, state["averaged"], work / "checkpoint.pt")
        run = f"step {state['step']}, {state['spent'] / 60:.0f} min of training"
        steps = str(state["step"])
    else:
        read_weights(of, classifier)
        run, steps = f"weights of {of.name}", f"weights of {of.name}"
    model = Exported(classifier).eval()
    example = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    out.mkdir(parents=True, exist_ok=True)
    raw = out / "state.raw.onnx.tmp"
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated but needs no further package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(raw),
            input_names=["input"],
            output_names=["region"],
            dynamic_axes={"input": {0: "batch"}, "region": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    slim = onnxslim.slim(onnx.load(str(raw)))
    raw.unlink()
    halve(slim)
    slim.metadata_props.add(key="steps", value=steps)
    data = slim.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    for n in (1, 5):
        images = np.random.default_rng(n).integers(0, 256, (n, HEIGHT, WIDTH, 3), np.uint8)
        with torch.no_grad():
            expected = model(torch.from_numpy(images)).numpy()
        worst = float(np.abs(session.run(["region"], {"input": images})[0] - expected).max())
        if not worst <= TOLERANCE:
            raise ValueError(f"the exported graph differs from the network by {worst:.1e}")
    if weights is not None:  # first: where they cannot be written, nothing has been replaced
        write_weights(weights, classifier.state_dict())
    replace(out / "state.onnx", data)
    sheet = {"img_height": HEIGHT, "img_width": WIDTH, "plate_regions": list(REGIONS)}
    (out / "state.yaml").write_text(
        "# Read beside state.onnx; written by `python -m training.state export`.\n"
        + yaml.safe_dump(sheet, sort_keys=False, default_flow_style=None, width=98),
        encoding="utf-8",
    )
    write_sums(out)
    return f"state.onnx: {len(data) / 1e6:.2f} MB, {run}"
