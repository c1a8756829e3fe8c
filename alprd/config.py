"""The vehicle's configuration: TOML, closed schema, errors that name file and line.

Only what belongs to this very car stands here (devices, ports, folders). What the agency decides
(retention, list ages, unattended collection) comes signed from central (``alprd.wire.Policy``),
so that nobody lengthens a life by editing a file in a car (R-13.824-X-1).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, get_args, get_origin

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from serial import Serial

from alprd.addresses import LEAST_REGION, kind_of
from alprd.addresses import check as check_address
from alprd.dropins import Layers, read_layers
from alprd.errors import ConfigError
from alprd.records import Closed, Digest, Name
from alprd.tomlplaces import line_of, nearest

SHIPPED: Final = "shipped"
PROVIDERS: Final = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "openvino": "OpenVINOExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
    }
)
"""Short names of ONNX Runtime's execution providers."""


class CameraSection(Closed):
    """``[[camera]]``: one camera. Credentials only by the name of a systemd credential or of a
    0600 file."""

    name: Name
    source: str
    """``/dev/v4l/by-id/…``, ``rtsp://…``, ``http://…`` or ``file:PATH``; never a password."""
    fps: Annotated[float, Field(gt=0, le=60)] = 15.0
    rotate: Literal[0, 90, 180, 270] = 0
    region: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom as shares of the turned picture; the rest is never kept."""
    user: str = ""
    credential: Name | None = None
    password_file: Path | None = None
    width: Annotated[int, Field(ge=64, le=8192)] | None = None
    height: Annotated[int, Field(ge=64, le=8192)] | None = None
    exposure: float | None = None
    gain: float | None = None
    focus: float | None = None
    fov_deg: Annotated[float, Field(ge=2, le=170)] | None = None
    """Field of view of the lens across the whole picture before it is turned; doctor alone uses it
    to reckon how large plates will be."""

    @field_validator("source")
    @classmethod
    def _address(cls, source: str) -> str:
        return check_address(source)

    @field_validator("region")
    @classmethod
    def _inside(
        cls, region: tuple[float, float, float, float] | None
    ) -> tuple[float, float, float, float] | None:
        if region is not None:
            x0, y0, x1, y1 = region
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise ValueError("give [left, top, right, bottom], each 0 to 1, left < right")
            if min(x1 - x0, y1 - y0) < LEAST_REGION:
                raise ValueError(f"the region is narrower than {LEAST_REGION} of the picture")
        return region

    @model_validator(mode="after")
    def _login(self) -> CameraSection:
        secrets = sum(item is not None for item in (self.credential, self.password_file))
        if secrets > 1:
            raise ValueError("give credential or password_file, not both")
        if bool(self.user) != bool(secrets):
            raise ValueError("user and credential (or password_file) belong together")
        if secrets and kind_of(self.source) != "url":
            raise ValueError("only a URL takes user and password: leave them out")
        if "{password}" in self.source and not secrets:
            raise ValueError("source wants {password}: give user and credential (or password_file)")
        return self


class GpsSection(Closed):
    """``[gps]``: where NMEA comes from."""

    source: str
    """Serial device path, ``socket://host:port`` or ``file:PATH``."""
    baud: int = 9600
    """Of a serial device; 0 tries the usual rates in turn until sentences come."""

    @field_validator("source")
    @classmethod
    def _kind(cls, source: str) -> str:
        # Here, so that the file and the line are told; what the rest must be like, GpsConfig says.
        if not source.startswith(("/", "socket://", "file:")):
            raise ValueError("unknown kind of source: use a device path, socket://... or file:PATH")
        return source

    @field_validator("baud")
    @classmethod
    def _rate(cls, baud: int) -> int:
        if baud != 0 and baud not in Serial.BAUDRATES:
            raise ValueError(f"{baud} is not a serial rate: give the receiver's, or 0 to try them")
        return baud


class DockSection(Closed):
    """``[dock]``: when the car may talk to central."""

    carrier_file: Path | None = None
    """File that holds ``1`` while the dock's network is there, such as
    ``/sys/class/net/eth0/carrier``. Without it, reachability of central alone decides."""
    interval_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    permit_over: Literal["dock", "any"] = "dock"
    """``any``: permit, orders and time also away from the dock, over any route to central, such
    as the car's modem (some 20 kB every quarter of an hour)."""
    limit_kbit_s: Annotated[float, Field(ge=64, le=1_000_000)] | None = None
    """Bandwidth limit of all that is sent and fetched; none when left out."""


class MdtSection(Closed):
    """``[mdt]``: the in-car page; loopback unless TLS files are given."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    run_file: Path | None = None
    """Where the bound address is written, as JSON (port 0 lets the system choose)."""
    tls_cert: Path | None = None
    """PEM of the page's certificate and its chain, for a separate laptop."""
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()
    """Names besides the address by which the page may be asked for (Host header)."""

    @model_validator(mode="after")
    def _pair(self) -> MdtSection:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        return self


class IgnitionSection(Closed):
    """``[ignition]``: when a sign-on ends because the engine is off; never without ``file``."""

    file: Path | None = None
    """Says ``0`` while the ignition is off, such as ``/sys/class/gpio/gpio17/value``."""
    off_after_min: Annotated[float, Field(gt=0, le=240)] = 10.0


class VerificationSection(Closed):
    """``[verification]``: the agency's query gateway; off without ``url`` (R-460.4-f2)."""

    url: str = ""
    ca_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 8.0

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        if url and not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]", url):
            raise ValueError("give an https:// address, or http:// of this computer alone")
        return url


class ModelSection(Closed):
    """What ``[detector]`` and ``[ocr]`` share: which model, and its pin."""

    model: str = SHIPPED
    """``shipped``, the path of an ONNX file, or a name of the public hub."""
    sha256: Digest | None = None

    @property
    def kind(self) -> Literal["shipped", "file", "hub"]:
        """Which of the three ways names the model; a path has a ``/`` or ends in ``.onnx``."""
        if self.model == SHIPPED:
            return "shipped"
        return "file" if "/" in self.model or self.model.endswith(".onnx") else "hub"

    def _want_pin(self, key: str, pin: str | None) -> None:
        if self.kind == "hub" and pin is None:
            raise ValueError(
                f"{key} is required with the hub name {self.model!r}: fetch the file on a machine "
                "you trust ('alprd models' lists the names that the hub has, with their addresses) "
                "and take the sum with sha256sum"
            )

    @field_validator("model")
    @classmethod
    def _named(cls, model: str) -> str:
        if "/" not in model and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", model):
            raise ValueError(f"{model!r} is neither {SHIPPED!r}, nor a path, nor a hub name")
        return model


class DetectorSection(ModelSection):
    """``[detector]``: what finds plates; hub names are those of open-image-models."""

    @model_validator(mode="after")
    def _pinned(self) -> DetectorSection:
        self._want_pin("sha256", self.sha256)
        return self


class OcrSection(ModelSection):
    """``[ocr]``: what reads them; hub names are those of fast-plate-ocr."""

    config: Path | None = None
    """The plate configuration of a model given by its path; without it, the ``.yaml`` beside."""
    config_sha256: Digest | None = None

    @model_validator(mode="after")
    def _pinned(self) -> OcrSection:
        self._want_pin("sha256", self.sha256)
        self._want_pin("config_sha256", self.config_sha256)
        if self.config is not None and self.kind != "file":
            raise ValueError("config goes with the path of a model; others bring their own")
        return self


class ReaderSection(Closed):
    """``[reader]``: recognition; the shipped models by default."""

    profile: Literal["road", "photo"] = "road"
    threads: Annotated[int, Field(ge=1, le=16)] = 1
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("CPUExecutionProvider",)
    """Where the models run, by preference; short names become ONNX Runtime's."""
    models: Path | None = None
    """A folder of one's own with ``detector.onnx``, ``ocr.onnx`` and ``ocr.yaml``."""

    @field_validator("providers")
    @classmethod
    def _providers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        full = tuple(provider(name) for name in names)
        if len(set(full)) != len(full):
            raise ValueError("a provider is named twice")
        return full


class HealthSection(Closed):
    """``[health]``: ``/healthz`` and ``/metrics``, for programs on this computer only."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    run_file: Path | None = None
    """Where the bound address is written, as JSON (port 0 lets the system choose)."""

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        try:
            inside = ipaddress.ip_address(host).is_loopback
        except ValueError:
            inside = False
        if not inside:
            raise ValueError(f"{host!r} is no address of this computer alone: use 127.0.0.1 or ::1")
        return host


class LogSection(Closed):
    """``[log]``: how much the daemon tells."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class StorageSection(Closed):
    """``[storage]``: free megabytes of the state folder's disk below which something is given up.

    The steps are told in :mod:`alprd.disk`. The life of a read can only be shortened here; the
    agency's signed policy and the law's 60 x 24 h stay the ceiling (R-460.5-4).
    """

    alarm_mb: Annotated[int, Field(gt=0)] = 1000
    caches_mb: Annotated[int, Field(gt=0)] = 500
    no_wide_mb: Annotated[int, Field(gt=0)] = 250
    stop_mb: Annotated[int, Field(gt=0)] = 100
    reserve_mb: Annotated[int, Field(ge=8)] = 16
    retention_hours: Annotated[int, Field(ge=0, le=60 * 24)] = 60 * 24

    @model_validator(mode="after")
    def _ordered(self) -> StorageSection:
        if not self.alarm_mb >= self.caches_mb >= self.no_wide_mb >= self.stop_mb:
            raise ValueError("alarm_mb, caches_mb, no_wide_mb and stop_mb must not rise")
        if self.reserve_mb > self.stop_mb:
            raise ValueError("reserve_mb is more than stop_mb: it would never be whole")
        return self


class ReplaySection(Closed):
    """``[replay]``: cameras that play files (demo, tests) begin together."""

    start_file: Path | None = None
    """File cameras wait until this file holds the monotonic instant (ns) of time zero."""


class Config(Closed):
    """A whole, valid configuration."""

    state_dir: Path
    """Absolute: systemd and a person's shell would make different folders of a relative one."""
    camera: Annotated[tuple[CameraSection, ...], Field(min_length=1)]
    gps: GpsSection
    dock: DockSection = DockSection()
    mdt: MdtSection = MdtSection()
    ignition: IgnitionSection = IgnitionSection()
    verification: VerificationSection = Field(default_factory=VerificationSection)
    detector: DetectorSection = DetectorSection()
    ocr: OcrSection = OcrSection()
    reader: ReaderSection = ReaderSection()
    health: HealthSection = HealthSection()
    log: LogSection = LogSection()
    storage: StorageSection = StorageSection()
    replay: ReplaySection = ReplaySection()

    @field_validator("state_dir")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        if not folder.is_absolute():
            raise ValueError("give the whole path, from /")
        return folder

    @field_validator("camera")
    @classmethod
    def _distinct(cls, cameras: tuple[CameraSection, ...]) -> tuple[CameraSection, ...]:
        names = [camera.name for camera in cameras]
        if len(set(names)) != len(names):
            raise ValueError("two cameras have one name")
        return cameras

    @field_validator("health")
    @classmethod
    def _own_port(cls, health: HealthSection, info: ValidationInfo) -> HealthSection:
        page = info.data.get("mdt")
        if page is not None and health.port and health.port == page.port:
            raise ValueError(f"port {health.port} is that of the in-car page, [mdt] port")
        return health

    @field_validator("reader")
    @classmethod
    def _one_choice(cls, reader: ReaderSection, info: ValidationInfo) -> ReaderSection:
        for name in ("detector", "ocr"):
            section = info.data.get(name)  # absent if it was refused itself
            if reader.models is not None and section is not None and section.kind != "shipped":
                raise ValueError(
                    f"models names a folder with a pair, and [{name}] model another file: "
                    "leave one of them out"
                )
        return reader


def provider(name: str) -> str:
    """ONNX Runtime's name of an execution provider, from that or a short name.

    Raises:
        ValueError: it is neither.
    """
    full = PROVIDERS.get(name.lower(), name)
    if not re.fullmatch(r"[A-Za-z]\w*ExecutionProvider", full):
        raise ValueError(f"{name!r} is no execution provider; use {', '.join(PROVIDERS)}")
    return full


def load(path: Path) -> Config:
    """Read and check a configuration file with its drop-ins (``FILE.d/*.toml``, by name).

    Raises:
        ConfigError: unreadable, not TOML, an unknown key or a value out of range; names the line.
    """
    return examine(path)[0]


def examine(path: Path) -> tuple[Config, Layers]:
    """The same, and the files that it was read from: the file itself and its drop-ins.

    Raises:
        ConfigError: as of :func:`load`.
    """
    layers = read_layers(path)
    try:
        return Config.model_validate(layers.values), layers
    except ValidationError as error:
        problems = []
        found = error.errors(include_url=False, include_input=False)
        for item in found:
            where = item["loc"]
            inner = any(
                len(o["loc"]) > len(where) and o["loc"][: len(where)] == where for o in found
            )
            if inner:  # a table counts as missing because something in it is wrong
                continue
            file, place = layers.origin(where)
            line = line_of(file.text, place)
            problems.append(f"{file.path}:{line}: {_dotted(where)}: {_words(item)}")
        raise ConfigError(
            "\n".join(problems), remedy="config/alprd.toml documents every key"
        ) from None


def _dotted(where: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in where)


def _words(item: ErrorDetails) -> str:
    """What is wrong with one value; for an unknown key, the one that was probably meant."""
    if item["type"] != "extra_forbidden":
        return item["msg"].removeprefix("Value error, ")  # pydantic's, before our own words
    where = item["loc"]
    key = str(where[-1])
    here = Config if len(where) == 1 else _section(str(where[0]))
    known = here.model_fields if here is not None else {}
    if (meant := nearest(key, known)) is not None:
        return f"unknown key; did you mean {meant!r}?"
    for name in Config.model_fields:
        section = _section(name)
        if section is not None and key in section.model_fields:
            return f"unknown key; {key!r} belongs to the table [{name}]"
    return f"unknown key; known here: {', '.join(known)}" if known else "unknown key"


def _section(name: str) -> type[Closed] | None:
    """The model of a table by its name; None where it is no table."""
    field = Config.model_fields.get(name)
    if field is None:
        return None
    kind = field.annotation
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, Closed) else None
