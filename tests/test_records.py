"""The closed read schema and plate text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from factories import jpeg, read
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alprd.errors import InputError
from alprd.records import MAX_LIFE, Plate, Read, destroy_by, fold, new_id, normalise


@pytest.mark.policy("R-460.4.1-a")
@pytest.mark.parametrize("field", ["speed", "heading", "confidence", "make", "colour", "camera"])
def test_a_read_has_no_field_beyond_the_permitted_ones(field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Read.model_validate({**read().model_dump(), field: "1"})


@pytest.mark.policy("R-460.4.1-a", "R-460.4.1-a1", "R-460.4.1-a2", "R-460.4.1-a3", "T-4")
def test_the_fields_of_a_read_are_exactly_the_permitted_ones_and_system_keys() -> None:
    assert set(Read.model_fields) == {
        *("plate", "instant", "time_trusted", "position", "plate_picture", "wide_picture"),
        *("id", "session", "classification", "destroy_by"),
    }
    assert set(Plate.model_fields) == {"text", "stacked", "state", "plate_type"}


@pytest.mark.policy("R-460.4.1-a", "R-460.4.1-a3")
def test_pictures_with_embedded_metadata_are_refused() -> None:
    plain = jpeg()
    exif = plain[:2] + b"\xff\xe1\x00\x08Exif\0\0" + plain[2:]
    with pytest.raises(ValidationError, match="embedded metadata"):
        read(plate_picture=exif)
    with pytest.raises(ValidationError, match="not a JPEG"):
        read(plate_picture=b"GIF89a")
    with pytest.raises(ValidationError, match="cut short"):
        read(plate_picture=plain[:10])


@pytest.mark.policy("R-460.2-1", "R-13.824-2-1")
def test_a_read_is_private_from_its_creation() -> None:
    assert read().classification == "private"


@pytest.mark.policy("R-460.5-4")
def test_the_vector_of_the_requirements() -> None:
    collected = datetime(2026, 1, 1, 16, 0, tzinfo=UTC)
    assert destroy_by(collected) == datetime(2026, 3, 2, 16, 0, tzinfo=UTC)


@pytest.mark.policy("R-460.5-4")
@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 60 * 24),
)
def test_destroy_by_is_never_late_and_less_than_an_hour_early(
    collected: datetime, hours: int
) -> None:
    exact = collected + timedelta(hours=hours)
    assert (
        timedelta(0) <= exact - destroy_by(collected, timedelta(hours=hours)) < timedelta(hours=1)
    )


@pytest.mark.policy("R-460.5-4")
@pytest.mark.parametrize("life", [MAX_LIFE + timedelta(seconds=1), timedelta(seconds=-1)])
def test_a_longer_life_than_the_law_allows_is_refused(life: timedelta) -> None:
    with pytest.raises(InputError, match="60 x 24"):
        destroy_by(datetime(2026, 1, 1, tzinfo=UTC), life)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="without a zone"):
        read(instant=datetime(2026, 1, 1, 12), destroy_by=datetime(2026, 3, 1, tzinfo=UTC))


@given(st.text(max_size=12))
def test_normalise_and_fold_are_idempotent(text: str) -> None:
    plain = normalise(text)
    assert normalise(plain) == plain
    assert fold(fold(text)) == fold(text) == fold(plain)


def test_look_alikes_fold_together() -> None:
    assert fold("O0-QD") == "0000"
    assert fold("bI5 zG8") == fold("81S 2 6B")
    assert fold("ABC123") != fold("ABC124")


def test_ids_are_random_and_carry_no_time() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    first = sorted(ids)
    assert len({value[:8] for value in first}) == 100
