"""The agency's settings, ``<home>/central.toml``: one agency, one host (R-13.824-2-2).

Limits are configuration with the law's maximum as ceiling: a longer life than 60×24 h makes the
program refuse to start (R-460.5-4, R-13.824-X-1).
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError

from alprd.central.storage.engine import server_url
from alprd.central.storage.namedtime import pattern_of
from alprd.central.storage.searchlimits import SearchSettings
from alprd.crypto import canonical, sha256_hex
from alprd.errors import ConfigError
from alprd.records import Closed, Name, Utc
from alprd.wire import Policy

CONFIG_FILE: Final = "central.toml"


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"unknown time zone {value!r}") from error
    return value


class PolicySettings(Closed):
    """The adopted policy as the device configuration needs it (R-460.1-1)."""

    version: str
    adopted_by: str
    effective: Utc
    retention_hours: Annotated[int, Field(ge=0, le=60 * 24)] = 60 * 24
    unattended: bool = False
    custodian: str = ""
    custodians: dict[Name, str] = Field(default_factory=dict)
    unattended_purpose: str = ""
    list_warn_hours: Annotated[int, Field(gt=0, le=24)] = 24
    list_stop_hours: Annotated[int, Field(gt=0, le=72)] = 72
    sources: tuple[str, ...] = ("LPDF", "additional")


def _server_url(value: str) -> str:
    if value:
        try:
            server_url(value)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.remedy}") from error
    return value


def _time_in_name(value: str) -> str:
    if value:
        pattern_of(value)
    return value


class StorageSettings(Closed):
    """Where databases and encrypted files are; empty: in the home folder (docs/storage.md)."""

    database: Annotated[str, AfterValidator(_server_url)] = ""
    keystore: Annotated[str, AfterValidator(_server_url)] = ""
    replica: str = ""
    """A second file of a keystore in SQLite, on another disk and in no backup; empty: none."""
    pictures: Annotated[str, Field(pattern=r"^$|^s3://[a-z0-9.-]{3,63}(/[A-Za-z0-9._-]+)*/?$")] = ""
    """``s3://BUCKET/PREFIX``: pictures, quarantined envelopes and hold requests lie there."""
    endpoint: Annotated[str, Field(pattern=r"^$|^https?://")] = ""
    """Of the S3-compatible server; empty: the public one of the region."""
    region: str = ""
    credentials: str = ""
    """Name of a systemd credential, or a file from the home folder on, with two lines."""


class KeySettings(Closed):
    """Where the agency key comes from."""

    agency: str = ""
    """Empty: the file ``keys/agency.key``; else see :mod:`alprd.central.storage.agencykey`."""


class ListSettings(Closed):
    """When an import waits for a person instead of taking the place of the list in use."""

    size_change: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the list in use by which the number of entries may differ."""
    size_change_least: Annotated[int, Field(ge=0)] = 100
    """A difference of fewer entries than this never holds a list: small lists jump."""
    test_plates: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """By list: plates that the supplier puts into every true delivery."""
    rejected_days: Annotated[int, Field(ge=1, le=30)] = 7
    """The report of an import's rejected lines is destroyed after this."""


class AdditionalSettings(Closed):
    """Lives of additional entries, with the policy's longest as ceiling (R-13.824-X-1)."""

    default_days: Annotated[int, Field(ge=1, le=30)] = 7
    longest_days: Annotated[int, Field(ge=1, le=30)] = 30
    exigency_hours: Annotated[int, Field(ge=1, le=24)] = 24


class DropList(Closed):
    """Which dropped files are a list, and what the importer is told about it."""

    files: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Patterns of file names, such as ``lpdf-*.csv.gz``."""
    source: str
    layout: str = ""
    """Empty: recognised by the first lines."""
    mapping: str = ""
    """A mapping file, from the home folder on."""
    code: str = ""
    """What the entries are, where the file has no code of its own."""
    state: str = ""
    """Their issuing state, where the file does not say it."""
    time_in_name: Annotated[str, AfterValidator(_time_in_name)] = ""
    """How the name tells when the supplier made it, in local time; empty: the time of change."""


class WatchSettings(Closed):
    """When the use of the store raises an alarm (R-BR-1)."""

    bulk_records: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Records that one person may see within an hour."""
    lost_car_hours: Annotated[int, Field(ge=24, le=8760)] = 168
    """A car without contact for longer may be lost."""
    office_from: Annotated[int, Field(ge=0, le=23)] = 7
    """Local hour from which exports are usual, on week days."""
    office_to: Annotated[int, Field(ge=1, le=24)] = 18


class ReleaseSettings(Closed):
    """What counsel must allow first."""

    data_subject_opinion: str = ""
    """Reference of the county attorney's opinion; empty: no access of data subjects (T-8)."""


class DropSettings(Closed):
    """The folder whose files are imported by the server itself."""

    folder: str = ""
    """Its path, or one from the home folder on; empty: there is none."""
    settle_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """A file that did not change for so long is whole."""
    keep_days: Annotated[int, Field(ge=0, le=30)] = 7
    """Imported files and their reports are removed after this."""
    lists: dict[Name, DropList] = Field(default_factory=dict)


class PublicSettings(Closed):
    """The public pages as files for another web host."""

    folder: str = ""
    """Its path, or one from the home folder on; empty: ``alprd-central publish DIR`` alone."""


class AuditSettings(Closed):
    """``[audit]``: where the daily anchors of the trail go, and what the weekly report tells."""

    anchors: str = ""
    """A folder of another host or a write-once medium; empty: ``anchors`` in the home folder."""
    odd_from: Annotated[int, Field(ge=0, le=23)] = 22
    odd_to: Annotated[int, Field(ge=0, le=23)] = 5
    """Local hours between which an access is told as one at an odd hour."""
    many_searches: Annotated[int, Field(ge=1)] = 25
    """Searches of one person in a week that are told as many."""


class CentralConfig(Closed):
    """Everything that ``central.toml`` may say; an unknown name is an error."""

    agency: Name
    agency_name: Annotated[str, Field(min_length=1, max_length=200)]
    timezone: Annotated[str, AfterValidator(_zone)] = "America/Chicago"
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    car_host: str = "127.0.0.1"
    car_port: Annotated[int, Field(ge=0, le=65535)] = 8443
    page_host: str = "127.0.0.1"
    page_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    housekeeping_s: Annotated[int, Field(ge=1, le=1200)] = 600
    """How often a worker looks for hourly work; a dead one is followed within three of these."""
    policy: PolicySettings
    storage: StorageSettings = StorageSettings()
    keys: KeySettings = KeySettings()
    lists: ListSettings = ListSettings()
    additional: AdditionalSettings = AdditionalSettings()
    release: ReleaseSettings = ReleaseSettings()
    watch: WatchSettings = WatchSettings()
    drop: DropSettings = DropSettings()
    public: PublicSettings = PublicSettings()
    search: SearchSettings = SearchSettings()
    audit: AuditSettings = AuditSettings()

    def zone(self) -> ZoneInfo:
        """The agency's local time, used on every public page."""
        return ZoneInfo(self.timezone)

    def device_policy(self) -> Policy:
        """The ``policy.json`` target; ``sha256`` is over its other settings in canonical form."""
        settings = self.policy.model_dump(mode="json")
        return Policy(
            agency=self.agency,
            agency_name=self.agency_name,
            timezone=self.timezone,
            sha256=sha256_hex(canonical(settings)),
            **self.policy.model_dump(),
        )


def load(home: Path) -> CentralConfig:
    """Read the settings of a home folder.

    Raises:
        ConfigError: missing, not TOML, or a setting that is unknown, impossible or unlawful.
    """
    path = home / CONFIG_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist", remedy=f"alprd-central init --home {home} --agency NAME …"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", remedy="correct the file") from error
    try:
        return CentralConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        remedy = "lower it" if "retention" in place else "see the comments in the file"
        raise ConfigError(f"{path}: {place}: {first['msg']}", remedy=remedy) from error


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    if any(ord(letter) < 32 for letter in escaped):
        raise ConfigError("a setting holds a control character", remedy="write it on one line")
    return f'"{escaped}"'


def render(config: CentralConfig) -> str:
    """The commented file that ``init`` writes."""
    policy = config.policy
    hosts = ", ".join(_quoted(host) for host in config.hosts)
    sources = ", ".join(_quoted(source) for source in policy.sources)
    custodians = "".join(
        f"{_quoted(car)} = {_quoted(person)}\n" for car, person in policy.custodians.items()
    )
    test_plates = "".join(
        f"{_quoted(name)} = [{', '.join(_quoted(plate) for plate in plates)}]\n"
        for name, plates in config.lists.test_plates.items()
    )
    drop_lists = "".join(_drop_list(*item) for item in config.drop.lists.items())
    return f"""\
# Settings of alprd-central. Restart `alprd-central serve` after a change, then run
# `alprd-central publish` so that the cars learn of it.

agency = {_quoted(config.agency)}            # machine name: one agency, one host
agency_name = {_quoted(config.agency_name)}
timezone = {_quoted(config.timezone)}
hosts = [{hosts}]                            # names of the server certificate
car_host = {_quoted(config.car_host)}        # where cars connect (TLS with client certificates)
car_port = {config.car_port}
page_host = {_quoted(config.page_host)}      # pages; plain HTTP, keep it on loopback
page_port = {config.page_port}
housekeeping_s = {config.housekeeping_s}  # 1 to 1200: reads are destroyed at least hourly

[policy]
version = {_quoted(policy.version)}
adopted_by = {_quoted(policy.adopted_by)}
effective = {_quoted(policy.effective.isoformat())}
retention_hours = {policy.retention_hours}   # 0 to 1440; the law allows no more (13.824 subd. 3)
unattended = {str(policy.unattended).lower()}  # may a car collect while nobody is signed on?
custodian = {_quoted(policy.custodian)}          # id of the trained person under whom it then does
unattended_purpose = {_quoted(policy.unattended_purpose)}  # such as "stolen_vehicles"
list_warn_hours = {policy.list_warn_hours}
list_stop_hours = {policy.list_stop_hours}
sources = [{sources}]

[policy.custodians]                          # another custodian for single cars: car-1 = "person"
{custodians}
[lists]                                      # an import beyond these waits for a person
size_change = {config.lists.size_change}  # share of the list in use
size_change_least = {config.lists.size_change_least}  # so few entries may always differ
rejected_days = {config.lists.rejected_days}  # 1 to 30: reports of rejected lines are kept so long

[lists.test_plates]                          # plates of every true delivery: lpdf = ["ABC123"]
{test_plates}
[additional]                                 # entries for active criminal investigations
default_days = {config.additional.default_days}
longest_days = {config.additional.longest_days}  # 1 to 30 (R-460.4.1-b2)
exigency_hours = {config.additional.exigency_hours}  # 1 to 24 (R-460.4.1-c)

[drop]                                       # docs/drop-folder.md
folder = {_quoted(config.drop.folder)}  # files put there are imported; empty: none
settle_s = {config.drop.settle_s}  # seconds without a change until a file is whole
keep_days = {config.drop.keep_days}  # of imported files and their reports
{drop_lists}
[public]                                     # docs/public-log.md
folder = {_quoted(config.public.folder)}  # the public pages are kept there as files; empty: not
[search]                                     # docs/search.md
case_form = {_quoted(config.search.case_form)}  # regular expression
longest_radius_m = {config.search.longest_radius_m}
same_place_m = {config.search.same_place_m}
stop_at = {config.search.stop_at}  # 1 to 3: which search of one plate in 30 days stops
civil_opinion = {_quoted(config.search.civil_opinion)}  # county attorney's opinion; empty: none

[audit]                                      # docs/audit-trail.md
anchors = {_quoted(config.audit.anchors)}  # a folder elsewhere; empty: in this one
odd_from = {config.audit.odd_from}
odd_to = {config.audit.odd_to}
many_searches = {config.audit.many_searches}

[keys]
# Empty: the file keys/agency.key. Else credential:NAME or pkcs11:LIBRARY?token=…&key=…&pin=…
# (docs/storage.md). Change it with `alprd-central keys rotate` only.
agency = {_quoted(config.keys.agency)}

[storage]
# Empty: SQLite files in this folder. Else postgresql://USER@HOST:5432/NAME, without a password
# (name a password file in PGPASSFILE). The keystore's server must be in no backup and archive no
# log: what is destroyed there must be destroyed everywhere.
database = {_quoted(config.storage.database)}
keystore = {_quoted(config.storage.keystore)}
# A second file of a SQLite keystore, on another disk, outside every backup (docs/storage.md).
replica = {_quoted(config.storage.replica)}
# Empty: files in this folder. Else s3://BUCKET/PREFIX of a bucket that keeps no versions.
pictures = {_quoted(config.storage.pictures)}
endpoint = {_quoted(config.storage.endpoint)}  # URL of the S3 server; empty: the region's own
region = {_quoted(config.storage.region)}
credentials = {_quoted(config.storage.credentials)}  # a file (0600) with access key id, secret
"""


def _drop_list(list_id: str, wanted: DropList) -> str:
    values = wanted.model_dump(exclude_defaults=True) | {"files": None}
    lines = [f"{name} = {_quoted(value)}\n" for name, value in values.items() if value is not None]
    files = ", ".join(_quoted(pattern) for pattern in wanted.files)
    return f"\n[drop.lists.{_quoted(list_id)}]\nfiles = [{files}]\n{''.join(lines)}"


def default_policy(version: str, adopted_by: str, now: datetime | None = None) -> PolicySettings:
    """Settings of a policy adopted today."""
    effective = (now or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    return PolicySettings(version=version, adopted_by=adopted_by, effective=effective)
