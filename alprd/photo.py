"""``alprd read``: plates of photographs, folders and videos.

A photograph is read alone: every plate found in it is told, with ``sure`` saying whether every
character is above its floor, O and 0 and I and 1 told apart. A video is read as a camera is, one
line a pass. Boxes are in pixels of the picture as OpenCV decodes it, that is after its EXIF
orientation has been applied.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click
import cv2
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from alprd.choice import by_hand
from alprd.config import provider
from alprd.errors import AlprdError, InputError
from alprd.footage import read_video
from alprd.frames import Image, PlateReading
from alprd.models import ModelSet, shipped
from alprd.pictureguard import load_picture
from alprd.profiles import PROFILES, Profile, ReaderSettings
from alprd.reader import CharacterReader, load
from alprd.still import NO_READING, FoundPlate, PhotoDetector, read_image, reading_json

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
VIDEOS: Final = frozenset({".mp4", ".m4v", ".mkv", ".avi", ".mov", ".ts", ".webm", ".mjpeg"})
CPU: Final = ("CPUExecutionProvider",)


def read_paths(
    paths: Sequence[Path],
    *,
    profile: Profile | None = None,
    json_out: bool = False,
    draw: Path | None = None,
    threads: int = 1,
    models: ModelSet | None = None,
    providers: Sequence[str] = CPU,
) -> int:
    """Read every photograph and video of ``paths`` and print the plates.

    Args:
        paths: files, and folders that are searched through in order of name.
        profile: None takes ``photo`` for photographs and ``road`` for videos.
        json_out: JSON lines instead of a table, exactly::

            {"image": "<file name>", "plates": [{"plate": "ABC123", "stacked": "",
             "region": "MN" or null, "confidence": 0.93, "sure": true, "box": [x, y, w, h]}],
             "ms": 12.3}

            ``ms`` is detection + OCR of that picture without decoding, after a warm-up. A video
            gives one line a pass: ``{"video", "start_s", "end_s", "plate", "stacked", "region",
            "confidence", "sure"}``.
        draw: folder for annotated pictures, which keep their place under the folder given in
            ``paths``; a name that is taken gets a number.
        threads: threads of one inference.
        models: other models than the shipped ones.
        providers: ONNX Runtime execution providers, by preference.

    Returns:
        Exit code: 0, or 1 if a file could not be read (the others still are).

    Raises:
        InputError: ``draw`` holds one of the files to read; nothing is read then.
        ModelError: the models cannot be loaded.
    """
    files, failed = _collect(paths)
    if draw is not None:
        _keep_apart(draw, files)
    chosen = models or shipped()

    def loader(settings: ReaderSettings) -> tuple[PhotoDetector, CharacterReader]:
        return load(chosen, settings, threads=threads, providers=providers)

    job = _Job(loader, profile, json_out, draw, files)
    for error in failed:
        job.complain(error)
    with job.progress(len(files)) as advance:
        for file in files:
            job.ready(file)  # outside: models that cannot be loaded end the run, told once
            try:
                job.read(file)
            except AlprdError as error:
                job.complain(error)
            advance()
    job.close()
    return 1 if job.errors else 0


class _Job:
    """One run of :func:`read_paths`: the models in use, the output and the errors so far."""

    def __init__(
        self,
        loader: Callable[[ReaderSettings], tuple[PhotoDetector, CharacterReader]],
        profile: Profile | None,
        json_out: bool,
        draw: Path | None,
        files: dict[Path, Path],
    ) -> None:
        self.errors = 0
        self._names = files
        # Nothing here may be written: the inputs, and what this run has drawn.
        self._taken = {file.resolve() for file in files} if draw is not None else set()
        self._load = loader
        self._profile, self._json, self._draw = profile, json_out, draw
        self._loaded: dict[Profile, tuple[PhotoDetector, CharacterReader]] = {}
        self._stderr = Console(stderr=True, highlight=False)
        self._table = Table("file", "plate", "stacked", "state", "confidence", "sure", "box / time")
        self._warm = False
        if draw is not None:
            try:
                draw.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"folder {draw} cannot be made: {error.strerror}") from error

    def ready(self, path: Path) -> None:
        """Load the models for this kind of file, if that has not been done yet."""
        self._pair(self._settings("road" if path.suffix.lower() in VIDEOS else "photo"))

    def read(self, path: Path) -> None:
        if path.suffix.lower() in VIDEOS:
            self._read_video(path)
        else:
            self._read_picture(path)

    def complain(self, error: AlprdError) -> None:
        self.errors += 1
        self._stderr.print(f"error: {error.diagnostics()}", soft_wrap=True, markup=False)

    def note(self, text: str) -> None:
        """Tell what may be wrong and may be right."""
        self._stderr.print(f"note: {text}", soft_wrap=True, markup=False)

    def progress(self, files: int) -> Any:
        """A context that yields a function to call after each file."""
        if files < 2 or not self._stderr.is_terminal:
            return nullcontext(lambda: None)
        return _Bar(Progress(console=self._stderr, transient=True), files)

    def close(self) -> None:
        if not self._json and self._table.row_count:
            Console().print(self._table)

    def _settings(self, default: Profile) -> ReaderSettings:
        return PROFILES[self._profile or default]

    def _pair(self, settings: ReaderSettings) -> tuple[PhotoDetector, CharacterReader]:
        if settings.profile not in self._loaded:
            self._loaded[settings.profile] = self._load(settings)
        return self._loaded[settings.profile]

    def _read_picture(self, path: Path) -> None:
        image = load_picture(path)
        settings = self._settings("photo")
        detector, ocr = self._pair(settings)
        if not self._warm:
            read_image(image, detector, ocr, settings)
            self._warm = True
        began = time.perf_counter()
        plates = read_image(image, detector, ocr, settings)
        spent = (time.perf_counter() - began) * 1000
        if self._json:
            _print_json(
                {
                    "image": path.name,
                    "plates": [plate.to_json() for plate in plates],
                    "ms": round(spent, 2),
                }
            )
        for plate in plates:
            x, y, w, h = plate.box
            self._row(path, plate.reading, f"{w} x {h} at {x}, {y}")
        if not plates:
            self._table.add_row(Text(path.name), "-", "", "", "", "", "no plate found")
        if self._draw is not None:
            _draw(image, plates)
            self._save(self._names[path].with_suffix(""), image)

    def _read_video(self, path: Path) -> None:
        settings = self._settings("road")
        detector, ocr = self._pair(settings)
        passes = read_video(path, detector, ocr, settings, self.note)
        for number, (wide, event) in enumerate(passes, 1):
            detail = event.detail or {}
            start, end = (round(detail[k] * 1e-9, 2) for k in ("start_mono_ns", "end_mono_ns"))
            reading = event.reading or NO_READING
            if self._json:
                _print_json(
                    {"video": path.name, "start_s": start, "end_s": end, **reading_json(reading)}
                )
            self._row(path, reading, f"{start} - {end} s")
            if self._draw is not None and wide is not None:
                _label(wide, reading, (4, wide.shape[0] - 8))
                name = self._names[path]
                self._save(name.with_name(f"{path.stem}-{number:04d}"), wide)

    def _row(self, path: Path, reading: PlateReading, where: str) -> None:
        self._table.add_row(
            Text(path.name),  # as it is: a name may look like markup
            reading.text or "-",
            reading.stacked,
            reading.region or "",
            f"{reading.confidence:.2f}",
            "yes" if reading.exact else "no",
            where,
        )

    def _save(self, name: Path, image: Image) -> None:
        """Write ``image`` as ``name`` (without suffix) under the folder for drawn pictures."""
        assert self._draw is not None  # noqa: S101 - callers ask first; for the type checker
        target = self._draw / f"{name}.jpg"
        number = 2
        while target.resolve() in self._taken:
            target = self._draw / f"{name}-{number}.jpg"
            number += 1
        self._taken.add(target.resolve())
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise InputError(f"{target} cannot be encoded as JPEG")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.tobytes())
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}") from error


class _Bar:
    """A progress bar as a context manager that yields its advance function."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total

    def __enter__(self) -> Any:
        self._progress.start()
        task = self._progress.add_task("reading", total=self._total)
        return lambda: self._progress.advance(task)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _providers(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(provider(name) for name in names) or CPU
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("read")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option("--json", "json_out", is_flag=True, help="JSON lines on standard output.")
@click.option(
    "--profile",
    type=click.Choice(["road", "photo"]),
    help="Settings to read with; by default photo for photographs, road for videos.",
)
@click.option(
    "--draw", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write annotated pictures to this folder.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--models", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
    help="Folder with detector.onnx, ocr.onnx and ocr.yaml to use instead of the shipped ones.",
)  # fmt: skip
@click.option(
    "--detector", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="ONNX file that finds the plates, in place of the shipped one.",
)  # fmt: skip
@click.option(
    "--ocr", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="ONNX file that reads them, with its .yaml beside it.",
)  # fmt: skip
@click.option(
    "--provider", "providers", multiple=True, metavar="NAME", callback=_providers,
    help="Where the models run: cpu (default), openvino, cuda or tensorrt; several by preference.",
)  # fmt: skip
def read_command(
    paths: tuple[Path, ...],
    json_out: bool,
    profile: Profile | None,
    draw: Path | None,
    threads: int,
    models: Path | None,
    detector: Path | None,
    ocr: Path | None,
    providers: tuple[str, ...],
) -> None:
    """Read the plates of photographs, folders and videos.

    Exit code 1 if a file could not be read; the others still are.
    """
    code = read_paths(
        paths,
        profile=profile,
        json_out=json_out,
        draw=draw,
        threads=threads,
        models=by_hand(models, detector, ocr),
        providers=providers,
    )
    click.get_current_context().exit(code)


def _collect(paths: Iterable[Path]) -> tuple[dict[Path, Path], list[InputError]]:
    """Files to read, folders searched through by name, and what cannot be read at all.

    Each file comes with its place under the folder that was given, or its bare name.
    """
    files: dict[Path, Path] = {}
    failed: list[InputError] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in PICTURES | VIDEOS and p.is_file()
            )
            if not inside:
                failed.append(InputError(f"folder {path} holds no photograph or video"))
            for file in inside:
                files.setdefault(file, file.relative_to(path))
        elif path.exists():
            files.setdefault(path, Path(path.name))
        else:
            failed.append(InputError(f"{path} does not exist", remedy="check the path"))
    return files, failed


def _keep_apart(draw: Path, files: Iterable[Path]) -> None:
    """Refuse a folder for drawn pictures where they could land on a photograph."""
    folder = draw.resolve()
    for file in files:
        if folder in file.resolve().parents:
            raise InputError(
                f"--draw {draw} holds {file}, which is to be read and must not be drawn over",
                remedy="give --draw a folder of its own, apart from the photographs",
            )


def _print_json(line: dict[str, Any]) -> None:
    click.echo(json.dumps(line, ensure_ascii=False))


def _draw(image: Image, plates: Iterable[FoundPlate]) -> None:
    for plate in plates:
        x, y, w, h = plate.box
        colour = (0, 200, 0) if plate.reading.exact else (0, 165, 255)
        cv2.rectangle(image, (x, y), (x + w, y + h), colour, 2)
        _label(image, plate.reading, (x, max(14, y - 6)))


def _label(image: Image, reading: PlateReading, at: tuple[int, int]) -> None:
    words = " ".join(filter(None, (reading.text or "?", reading.stacked, reading.region)))
    words += f" {reading.confidence:.2f}"
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(image, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, thickness, cv2.LINE_AA)
