"""Loading and matching hotlists: real packed, encrypted and gzip'd lists, no mocks."""

from __future__ import annotations

import gzip
import json
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listworld import KEY, NAME, packed, sealed
from listworld import entry as plain_entry

from alprd import loadedlist
from alprd.crypto import encrypt_target
from alprd.errors import EnvelopeError, InputError, RefusedError, StoreError
from alprd.frames import Character, PlateReading
from alprd.hotlist import LoadedList, Matcher, load_hotlist, load_hotlist_file, variants
from alprd.records import PlateType, fold
from alprd.wire import Policy

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SUPPLIED = NOW - timedelta(hours=3)


def policy(**changes: Any) -> Policy:
    fields: dict[str, Any] = {
        "agency": "becker",
        "agency_name": "Becker County Sheriff",
        "version": "1",
        "sha256": "0" * 64,
        "adopted_by": "nobody",
        "effective": SUPPLIED,
    }
    return Policy.model_validate({**fields, **changes})


def entry(plate: str, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": f"e-{plate}",
        "plate": plate,
        "state": "MN",
        "plate_type": None,
        "category": "stolen",
        "priority": "high",
        "text": "stolen vehicle",
    }
    return {**fields, **changes}


def target(rows: list[dict[str, Any]], /, **changes: Any) -> bytes:
    header: dict[str, Any] = {
        "list_id": "lpdf",
        "source": "LPDF",
        "version": "7",
        "supplied_at": SUPPLIED.isoformat(),
        "entries": len(rows),
        "counts": dict(Counter(str(item["category"]) for item in rows)),
    }
    lines = [{**header, **changes}, *rows]
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def matcher(*entries: dict[str, Any], **changes: Any) -> Matcher:
    return Matcher([load_hotlist(target(list(entries)))], policy(**changes))


def reading(
    text: str,
    region: str | None = "MN",
    stacked: str = "",
    doubts: Mapping[int, tuple[tuple[str, float], ...]] | None = None,
) -> PlateReading:
    characters = tuple(
        Character(char, 0.6, (doubts or {}).get(at, ())) for at, char in enumerate(text)
    )
    return PlateReading(text, stacked, characters, region, 0.9, 0.6, sure=True)


def test_exact_match_carries_entry_source_and_version() -> None:
    (match,) = matcher(entry("ABC123"), entry("XYZ777")).match(reading("ABC123"), NOW)
    assert (match.kind, match.differing, match.with_stacked) == ("exact", (), False)
    assert (match.entry.id, match.source, match.version) == ("e-ABC123", "LPDF", "7")
    assert match.supplied_at == SUPPLIED


@pytest.mark.policy("R-460.4-f")
@pytest.mark.parametrize(
    ("listed", "read", "kind"),
    [
        ("MN", "MN", "exact"),
        ("WI", "MN", "other-state"),
        ("MN", None, "state-unknown"),
        (None, "MN", "state-unknown"),
        (None, None, "state-unknown"),
    ],
)
def test_state_is_told_and_never_assumed(listed: str | None, read: str | None, kind: str) -> None:
    (match,) = matcher(entry("ABC123", state=listed)).match(reading("ABC123", read), NOW)
    assert match.kind == kind


@pytest.mark.policy("R-460.4-f")
def test_a_surely_read_b_is_not_a_listed_8() -> None:
    book = matcher(entry("A8C123"))
    assert book.match(reading("ABC123"), NOW) == ()
    assert book.match(reading("ABC123", doubts={1: (("8", 0.019),)}), NOW) == ()
    (match,) = book.match(reading("ABC123", doubts={1: (("8", 0.02),)}), NOW)
    assert (match.kind, match.differing) == ("look-alike", (1,))


def test_every_differing_position_needs_its_own_doubt() -> None:
    book = matcher(entry("A8C12S"))
    assert book.match(reading("ABC125", doubts={1: (("8", 0.3),)}), NOW) == ()
    doubts = {1: (("8", 0.3),), 5: (("S", 0.1),)}
    (match,) = book.match(reading("ABC125", doubts=doubts), NOW)
    assert match.differing == (1, 5)


@pytest.mark.parametrize(("listed", "read"), [("AB0123", "ABO123"), ("ABI123", "AB1123")])
def test_twins_are_look_alikes_even_when_surely_read(listed: str, read: str) -> None:
    (match,) = matcher(entry(listed)).match(reading(read), NOW)
    assert (match.kind, match.differing) == ("look-alike", (2,))


def test_other_state_outweighs_look_alike_and_still_names_the_position() -> None:
    (match,) = matcher(entry("AB0123", state="WI")).match(reading("ABO123"), NOW)
    assert (match.kind, match.differing) == ("other-state", (2,))


@pytest.mark.parametrize(
    ("listed", "with_stacked"), [("123456", False), ("TR123456", True), ("123456TR", True)]
)
def test_stacked_letters_both_orders_and_without(listed: str, with_stacked: bool) -> None:
    book = matcher(entry(listed))
    (match,) = book.match(reading("123456", stacked="TR"), NOW)
    assert (match.kind, match.with_stacked) == ("exact", with_stacked)
    assert bool(book.match(reading("123456"), NOW)) is not with_stacked


@pytest.mark.parametrize("read", ["ABC12", "BC123", "ABC1234", "ABC12A", "A"])
def test_never_partial(read: str) -> None:
    assert matcher(entry("ABC123")).match(reading(read), NOW) == ()


@pytest.mark.policy("R-460.4-f")
def test_plate_type_is_compared_where_both_know_it() -> None:
    """R-460.4-f: another type is told and comes after, but never silences an alert (ADR 0037)."""
    book = matcher(
        entry("ABC123", plate_type="motorcycle"),
        entry("ABC123", plate_type="trailer", id="e-trailer"),
        entry("ABC123", id="e-any"),
    )

    def told(plate_type: PlateType | None) -> dict[str | None, bool]:
        found = book.match(reading("ABC123"), NOW, plate_type=plate_type)
        assert [m.type_differs for m in found] == sorted(m.type_differs for m in found)
        return {m.entry.plate_type: m.type_differs for m in found}

    assert told("passenger") == {"motorcycle": True, "trailer": True, None: False}
    assert told("motorcycle") == {"motorcycle": False, "trailer": True, None: False}
    assert told(None) == {"motorcycle": False, "trailer": False, None: False}


@pytest.mark.policy("R-460.4.1-b2")
def test_an_entry_ends_offline_to_the_second() -> None:
    book = matcher(entry("ABC123", expires=NOW.isoformat()))
    assert len(book.match(reading("ABC123"), NOW - timedelta(seconds=1))) == 1
    assert book.match(reading("ABC123"), NOW) == ()


@pytest.mark.policy("R-460.4.1-b4", "R-460.5.1-b2")
def test_a_list_past_its_age_matches_nothing_and_stays_loaded() -> None:
    book = matcher(entry("ABC123"), list_stop_hours=48)
    assert book.match(reading("ABC123"), SUPPLIED + timedelta(hours=48))
    assert book.match(reading("ABC123"), SUPPLIED + timedelta(hours=48, seconds=1)) == ()
    (database,) = book.databases()
    assert (database.source, database.bundle) == ("LPDF", "lpdf 7")
    (status,) = book.lists()
    assert (status.entries, status.counts) == (1, {"stolen": 1})


@pytest.mark.policy("R-460.4.1-b")
def test_a_source_outside_the_policy_is_refused() -> None:
    loaded = load_hotlist(target([entry("ABC123")], source="PRIVATE"))
    with pytest.raises(RefusedError) as caught:
        Matcher([loaded], policy())
    assert caught.value.reason == "source_not_allowed"
    assert Matcher([loaded], policy(sources=["LPDF", "PRIVATE"])).lists()


def test_two_lists_with_one_id_are_refused() -> None:
    loaded = load_hotlist(target([]))
    with pytest.raises(RefusedError, match="twice"):
        Matcher([loaded, loaded], policy())


def test_best_kind_comes_first_over_several_lists() -> None:
    first = load_hotlist(target([entry("ABC123", state="WI")]))
    second = load_hotlist(target([entry("ABC123")], list_id="local"))
    kinds = [m.kind for m in Matcher([first, second], policy()).match(reading("ABC123"), NOW)]
    assert kinds == ["exact", "other-state"]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"not gzip",
        target([entry("ABC123")])[:-9],
        target([entry("ABC123", colour="red")]),
        target([entry("ABC-123")]),
        target([entry("ABC123", category="unmapped")], counts={}),
        target([entry("ABC123")], entries=2),
        target([entry("ABC123")], counts={"stolen": 2}),
        target([entry("ABC123")], secret=1),
        gzip.compress(b"[]\n"),
    ],
    ids=range(10),
)
def test_a_damaged_list_is_refused_without_quoting_it(bad: bytes) -> None:
    with pytest.raises(InputError) as caught:
        load_hotlist(bad)
    assert "ABC" not in caught.value.diagnostics()
    assert caught.value.__suppress_context__ or "ABC" not in str(caught.value.__cause__)


def test_thousands_of_entries_share_blocks_and_folds() -> None:
    entries = [entry(f"{n:06d}", id=f"n{n}") for n in range(3_000)]
    entries += [entry("000777", id=f"same{n}", category="other_lpdf") for n in range(200)]
    book = Matcher([load_hotlist(target(entries))], policy())
    assert len(book.match(reading("000777"), NOW)) == 201
    assert [m.entry.id for m in book.match(reading("002999"), NOW)] == ["n2999"]
    assert book.match(reading("003000"), NOW) == ()


ALPHABET = "AB80O1ISQ"
plates = st.text(ALPHABET, min_size=1, max_size=6)


@given(st.lists(plates, max_size=40), plates, st.text(ALPHABET, max_size=2))
def test_matches_are_exactly_what_a_plain_scan_finds(
    listed: list[str], text: str, stacked: str
) -> None:
    loaded: LoadedList = load_hotlist(target([entry(p, id=str(n)) for n, p in enumerate(listed)]))
    read = reading(text, stacked=stacked, doubts={0: (("8", 0.5),)})
    forms = {text, stacked + text, text + stacked}
    ids = {m.entry.id for m in Matcher([loaded], policy()).match(read, NOW)}
    for number, plate in enumerate(listed):
        if plate in forms:
            assert str(number) in ids
        elif fold(plate) not in {fold(form) for form in forms}:
            assert str(number) not in ids


def test_variants_take_characters_of_the_stacked_part_when_given() -> None:
    characters = tuple(Character(char, 0.9) for char in "123TR")
    read = PlateReading("123", "TR", characters, None, 0.0, 0.9, sure=False)
    before = variants(read)[1]
    assert before.text == "TR123"
    assert [c.prob for c in before.characters] == [0.9] * 5


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(gzip.compress)))
def test_no_bytes_break_the_loader(data: bytes) -> None:
    with pytest.raises(InputError):
        load_hotlist(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_byte_is_refused_or_changes_nothing(at: int, value: int) -> None:
    whole = target([entry("ABC123"), entry("XYZ777")])
    damaged = bytearray(whole)
    damaged[at % len(whole)] = value
    try:
        loaded = load_hotlist(bytes(damaged))
    except InputError as error:
        assert "ABC" not in error.diagnostics()
    else:
        assert [e.plate for e in loaded.find("A8C123")] == ["ABC123"]


# --- lists on the disk ----------------------------------------------------------------------------

MANY = packed(plain_entry(number) for number in range(5_000))


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A list too big to be kept in RAM, and its digest."""
    monkeypatch.setattr(loadedlist, "RESIDENT", 10_000)
    data, digest = sealed(MANY)
    path = tmp_path / digest
    path.write_bytes(data)
    return path, digest


def numbered(number: int) -> PlateReading:
    return reading(plain_entry(number).plate)


def rot(path: Path) -> None:
    """Every chunk suffers on the disk, in the file that is open."""
    data = bytearray(path.read_bytes())
    for at in range(100, len(data), 1_000):
        data[at] ^= 255
    with path.open("r+b") as file:
        file.write(data)


def test_a_list_is_matched_from_its_encrypted_file(on_disk: tuple[Path, str]) -> None:
    path, digest = on_disk
    book = Matcher([load_hotlist_file(path, name=NAME, key=KEY, sha256=digest)], policy())
    assert book.lists()[0].entries == 5_000
    for number in range(0, 5_000, 97):
        (match,) = book.match(numbered(number), NOW)
        assert match.entry == plain_entry(number)
    assert book.match(numbered(5_000), NOW) == ()


def test_a_snapshot_stays_whole_when_its_file_is_replaced_or_removed(
    on_disk: tuple[Path, str],
) -> None:
    path, digest = on_disk
    book = Matcher([load_hotlist_file(path, name=NAME, key=KEY, sha256=digest)], policy())
    other = path.with_name("other")
    other.write_bytes(sealed(packed([plain_entry(1)]))[0])
    other.replace(path)
    assert len(book.match(numbered(4_000), NOW)) == 1
    path.unlink()
    assert len(book.match(numbered(3_000), NOW)) == 1
    assert not book.lists()[0].damaged


@pytest.mark.policy("R-460.4.1-b", "R-460.4.1-b4")
def test_a_list_that_rots_on_the_disk_is_told_and_takes_no_other_list_with_it(
    on_disk: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    path, digest = on_disk
    big = load_hotlist_file(path, name=NAME, key=KEY, sha256=digest)
    plate = plain_entry(2_500).plate
    local = load_hotlist(target([entry(plate, text="from the local list")], list_id="local"))
    book = Matcher([big, local], policy())
    assert len(book.match(reading(plate), NOW)) == 2
    rot(path)
    with caplog.at_level(logging.ERROR):
        found = [book.match(numbered(number), NOW) for number in range(1, 5_000, 300)]
        still = book.match(reading(plate), NOW)
    assert "local" in {match.list_id for match in still}
    assert not all(found)
    assert {item.list_id: item.damaged for item in book.lists()} == {"lpdf": True, "local": False}
    assert len(caplog.records) == 1  # not one for each plate on the road
    assert plate not in caplog.text


def test_a_list_kept_in_ram_does_not_mind_its_disk(tmp_path: Path) -> None:
    data, digest = sealed(MANY)
    path = tmp_path / "list"
    path.write_bytes(data)
    book = Matcher([load_hotlist_file(path, name=NAME, key=KEY, sha256=digest)], policy())
    rot(path)
    assert len(book.match(numbered(2_500), NOW)) == 1


@pytest.mark.policy("R-460.4.1-b")
@pytest.mark.parametrize("resident", [10_000, 32_000_000])
def test_only_the_signed_file_under_its_key_and_name_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: int
) -> None:
    monkeypatch.setattr(loadedlist, "RESIDENT", resident)
    data, digest = sealed(MANY)
    path = tmp_path / "list"
    path.write_bytes(data)
    handles = len(list(Path("/proc/self/fd").iterdir()))
    for changes in (
        {"sha256": "0" * 64},
        {"key": bytes(32)},
        {"name": "hotlist-other.bin"},
    ):
        asked: dict[str, Any] = {"name": NAME, "key": KEY, "sha256": digest, **changes}
        with pytest.raises(EnvelopeError):
            load_hotlist_file(path, **asked)
    rot(path)
    with pytest.raises(EnvelopeError):
        load_hotlist_file(path, name=NAME, key=KEY)
    with pytest.raises(StoreError):
        load_hotlist_file(tmp_path / "none", name=NAME, key=KEY)
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def test_a_small_target_of_version_1_is_loaded_too(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(encrypt_target(target([entry("ABC123")]), name=NAME, key=KEY))
    assert len(load_hotlist_file(path, name=NAME, key=KEY)) == 1


def test_a_snapshot_lets_go_of_its_file(on_disk: tuple[Path, str]) -> None:
    path, digest = on_disk
    handles = len(list(Path("/proc/self/fd").iterdir()))
    book = [load_hotlist_file(path, name=NAME, key=KEY, sha256=digest)]
    assert len(list(Path("/proc/self/fd").iterdir())) == handles + 1
    book.clear()
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def test_a_packed_list_and_its_lines_are_the_same_list() -> None:
    items = [plain_entry(number) for number in range(300)]
    lines = load_hotlist(target([item.model_dump(mode="json") for item in items]))
    whole = load_hotlist(packed(items))
    for item in items:
        assert list(whole.find(fold(item.plate))) == list(lines.find(fold(item.plate))) == [item]
