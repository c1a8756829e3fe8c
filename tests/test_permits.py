"""Leave to collect: policy and permit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOW

from alprd.audit import Event
from alprd.clock import SECOND, DisciplinedClock, to_ns
from alprd.crypto import SignedDocument, generate_key, sign_document
from alprd.errors import RefusedError, SignatureError
from alprd.hotlist import Matcher
from alprd.mark import PurgeClock, TimeMark
from alprd.permits import PermitBook, check_policy
from alprd.records import new_id
from alprd.store import Store
from alprd.suppress import SuppressionSet
from alprd.targets import TargetSet
from alprd.wire import IntakeKeys, Permit, Policy, Roster

KEY = generate_key()


def signed(key: object = KEY, **changes: object) -> SignedDocument:
    values = {
        "agency": "becker",
        "vehicle": "car-1",
        "serial": new_id(),
        "not_before": NOW,
        "expires": NOW + timedelta(hours=24),
    }
    permit = Permit.model_validate(values | changes)
    return sign_document("permit", permit, key)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "queue.db", now=lambda: (NOW, True), device="car-1")
    yield opened
    opened.close()


def book(store: Store) -> PermitBook:
    return PermitBook(store, agency="becker", vehicle="car-1", receipt_key=KEY.public_key())


@pytest.mark.policy("R-13.824-6-6")
def test_collection_needs_a_live_permit(store: Store) -> None:
    permits = book(store)
    with pytest.raises(RefusedError) as caught:
        permits.check(NOW)
    assert caught.value.reason == "no_permit"
    permits.renew(signed())
    permits.check(NOW)
    permits.check(NOW + timedelta(hours=23, minutes=59))
    for at in (NOW - timedelta(seconds=1), NOW + timedelta(hours=24)):
        with pytest.raises(RefusedError) as caught:
            permits.check(at)
        assert caught.value.reason == "permit_lapsed"


@pytest.mark.policy("R-13.824-6-6")
def test_a_clock_set_back_cannot_stretch_a_permit(store: Store) -> None:
    """R-13.824-6-6: the mark ran past the permit's end; what the clock says no longer counts."""
    ran = 0
    system = [NOW]
    clock = DisciplinedClock(system_ns=lambda: to_ns(system[0]), monotonic_ns=lambda: ran)
    mark = PurgeClock(clock, TimeMark().by_central(NOW), running_ns=lambda: ran)
    permits = PermitBook(
        store, agency="becker", vehicle="car-1", receipt_key=KEY.public_key(), bounds=mark.bounds
    )
    permits.renew(signed())
    permits.check(NOW)
    ran = 23 * 3600 * SECOND
    permits.check(NOW)
    ran = 24 * 3600 * SECOND + 10 * SECOND  # running time counts up to 100 ppm short: 8.6 s a day
    with pytest.raises(RefusedError) as caught:
        permits.check(NOW)
    assert caught.value.reason == "permit_lapsed"
    again = mark.central(NOW + timedelta(hours=25))
    assert again.central == NOW + timedelta(hours=25)
    with pytest.raises(RefusedError):
        permits.check(NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=25)
    permits.renew(signed(not_before=later, expires=later + timedelta(hours=24)))
    permits.check(later)


@pytest.mark.policy("R-13.824-6-6")
def test_a_suspension_refuses_at_once(store: Store) -> None:
    permits = book(store)
    permits.renew(signed(suspended=True))
    with pytest.raises(RefusedError) as caught:
        permits.check(NOW)
    assert caught.value.reason == "suspended"


def test_a_permit_outlives_a_restart_but_not_an_altered_file(store: Store) -> None:
    book(store).renew(signed())
    book(store).check(NOW)
    kept = store.get_meta("permit")
    assert kept is not None
    store.set_meta("permit", kept.replace("car-1", "car-2"))
    with pytest.raises(RefusedError, match="no permit"):
        book(store).check(NOW)


def test_permits_of_others_forged_or_replayed_are_refused(store: Store) -> None:
    permits = book(store)
    for document in (signed(generate_key()), signed(vehicle="car-2"), signed(agency="other")):
        with pytest.raises(SignatureError):
            permits.renew(document)
    old = signed()
    permits.renew(signed(not_before=NOW + timedelta(hours=1), expires=NOW + timedelta(hours=25)))
    with pytest.raises(SignatureError, match="older"):
        permits.renew(old)
    events = [event.event for event in store.audit_events()]
    assert events == [Event.PERMIT_RENEWED]


@pytest.mark.policy("R-460.1-1")
def test_without_a_policy_nothing_is_collected() -> None:
    with pytest.raises(RefusedError) as caught:
        check_policy(None, NOW)
    assert caught.value.reason == "no_policy"


@pytest.mark.policy("R-460.1-1")
def test_a_policy_that_is_not_yet_effective_collects_nothing() -> None:
    policy = Policy(
        agency="becker",
        agency_name="Becker County (test)",
        version="461",
        sha256="0" * 64,
        adopted_by="Sheriff",
        effective=NOW + timedelta(days=1),
    )
    targets = TargetSet(
        intake_keys=IntakeKeys(agency="becker", keys=()),
        policy=policy,
        roster=Roster(agency="becker", issued=NOW, expires=NOW, people=()),
        matcher=Matcher([], policy),
        suppression=SuppressionSet.EMPTY,
        versions={},
    )
    with pytest.raises(RefusedError) as caught:
        check_policy(targets, NOW)
    assert caught.value.reason == "policy_not_effective"
    with pytest.raises(RefusedError) as caught:
        check_policy(targets, NOW + timedelta(days=1))
    assert caught.value.reason == "no_intake_key"
