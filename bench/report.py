"""The figures as JSON objects and as a table: names, order and ratios stand here once."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import onnxruntime as ort
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.timing import Figures

Form = Literal["number", "share", "count"]
WIDENED: Final = ("exact", "exact_o0", "exact_trained_on", "exact_o0_trained_on")
"""Figures that the peer also has with grown crops."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure: its key, its words, how it is written, and the key of ours / peer's."""

    key: str
    label: str
    form: Form
    ratio: str = ""


def _stage(stage: str, words: str) -> list[Measure]:
    return [
        Measure(f"{stage}_ms_p{p}", f"{words} ms, p{p}", "number", f"ratio_{stage}_ms_p{p}")
        for p in (50, 95)
    ]


MEASURES: Final = (
    Measure("cpu_ms", "CPU ms a frame, mean ({frames})", "number", "ratio_cpu"),
    Measure("cpu_ms_p50", "CPU ms a frame, p50", "number", "ratio_cpu_p50"),
    Measure("detect_cpu_ms", "  detection", "number", "ratio_detect_cpu"),
    Measure("ocr_cpu_ms", "  OCR", "number", "ratio_ocr_cpu"),
    Measure("state_cpu_ms", "  state classifier", "number"),
    Measure("frames_s", "frames/s", "number", "ratio_frames_s"),
    *_stage("total", "whole frame"),
    *_stage("detect", "detection"),
    *_stage("ocr", "OCR"),
    *_stage("state", "state classifier"),
    *_stage("rest", "rest"),
    Measure("plates_a_frame", "plates reported a frame", "number"),
    Measure("crops_a_frame", "crops read a frame", "number"),
    Measure("handed", "frames without a find", "count"),
    Measure(
        "video_cpu_ms",
        "video: CPU ms a frame ({video_frames})",
        "number",
        "video_ratio_cpu",
    ),
    Measure("video_crops_a_frame", "video: crops read a frame", "number"),
    Measure("video_detects_a_frame", "video: detections a frame", "number"),
    Measure("memory_mb", "peak memory, MB", "number", "ratio_memory"),
    Measure(
        "detect_recall50",
        "detect/val: recall IoU 0.5 ({labels})",
        "share",
        "ratio_detect_recall50",
    ),
    Measure("false_boxes", "  unlabelled boxes a picture", "number"),
    Measure("detector_recall50", "  detector alone: recall", "share"),
    Measure("detector_false_boxes", "  detector alone: unlabelled boxes a picture", "number"),
    Measure("told_recall50", "  told: recall", "share"),
    Measure("told_false_boxes", "  told: unlabelled boxes a picture", "number"),
    Measure("exact", "us-text val: exact ({exact_plates})", "share", "ratio_exact"),
    Measure("exact_o0", "  O=0", "share", "ratio_exact_o0"),
    Measure("told_exact", "  told: exact", "share"),
    Measure("told_exact_o0", "  told: O=0", "share"),
    Measure(
        "exact_trained_on",
        "TRAINED ON, us-text train: exact ({trained_on_plates})",
        "share",
    ),
    Measure("exact_o0_trained_on", "  O=0", "share"),
    Measure(
        "text_crops_exact",
        "OCR alone, us-text val ({text_crops})",
        "share",
        "ratio_text_crops_exact",
    ),
    Measure("text_crops_exact_o0", "  O=0", "share", "ratio_text_crops_exact_o0"),
    Measure("crops_exact", "OCR alone, us-crops val ({crops})", "share", "ratio_crops_exact"),
    Measure("crops_exact_o0", "  O=0", "share", "ratio_crops_exact_o0"),
)


def ratio(ours: float | None, peer: float | None) -> float | None:
    """Ours / the peer's; None where one was not measured or the peer's is 0."""
    return None if ours is None or not peer else ours / peer


def profile_object(profile: str, ours: Figures, peer: Figures, widened: Figures) -> dict[str, Any]:
    """One element of ``profiles``: every key of :data:`MEASURES`, None where not measured.

    A figure that this profile has not is left out of the peer's side, too.
    """
    result: dict[str, Any] = {"profile": profile}
    for measure in MEASURES:
        mine = ours.get(measure.key)
        theirs = peer.get(measure.key) if mine is not None else None
        result[measure.key], result[f"peer_{measure.key}"] = _short(mine), _short(theirs)
        if measure.ratio:
            result[measure.ratio] = _short(ratio(mine, theirs))
    for key in WIDENED:
        result[f"peer_widened_{key}"] = _short(widened.get(key))
    return result


def table(profiles: list[dict[str, Any]], counts: Mapping[str, int]) -> Table:
    """A row a measure; a column a profile, the peer, and the ratio of each profile to it.

    Measures that nobody has are left out.
    """
    names = [p["profile"] for p in profiles]
    ratios = [f"{name}\n/ peer" for name in names]
    result = Table("", *names, "peer", "peer\n+10 %", *ratios, box=SIMPLE_HEAD, pad_edge=False)
    for column in result.columns[1:]:
        column.justify = "right"
    for measure in MEASURES:
        if all(p[measure.key] is None for p in profiles):
            continue
        cells = [_cell(p[measure.key], measure.form) for p in profiles]
        peers = [p[f"peer_{measure.key}"] for p in profiles]
        cells.append(_cell(next((v for v in peers if v is not None), None), measure.form))
        grown = profiles[0].get(f"peer_widened_{measure.key}")
        cells.append(_cell(grown, measure.form) if measure.key in WIDENED else "")
        cells += [_cell(p.get(measure.ratio), "number") if measure.ratio else "" for p in profiles]
        result.add_row(measure.label.format_map(counts), *cells)
    return result


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        "opencv": cv2.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _cell(value: float | None, form: Form) -> str:
    if value is None:
        return "–"
    if form == "share":
        return f"{value:.1%}"
    return f"{value:.0f}" if form == "count" else f"{value:.2f}"
