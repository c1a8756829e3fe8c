"""What a deputy finds out about an alert, in the order of Policy 460.4(f).

::

    open ─ agrees: yes ─► agreed ─ result ─► verified ─ action ─► settled
      └─── agrees: no, or Misread ────────────────────────────────► settled
                                   result "not confirmed" or "cleared" ► settled at once
    open ─ dispatch told, or not (a person without clearance) ────► settled

The order is kept here, whatever asks: no result before the look at the picture, no action before
a result (R-460.4-f). Everything a person gives is chosen from closed lists but the reference of
the query, which is checked: it is a number of MNJIS/NLETS, and never the plate (R-AT-4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from alprd.errors import RefusedError
from alprd.records import Closed

Result = Literal["confirmed", "not_confirmed", "cleared", "not_practicable"]
Action = Literal["none", "observed", "stopped", "recovered", "arrested", "cited", "passed_on"]
Reason = Literal["system_down", "no_answer", "danger", "pursuit", "no_terminal"]
ClearedReason = Literal["entry_recalled", "owner_identified", "recovered_before", "other_vehicle"]

RESULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "confirmed": "Confirmed",
        "not_confirmed": "Not confirmed",
        "cleared": "Cleared",
        "not_practicable": "Not practicable",
    }
)
ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "none": "No action",
        "observed": "Observed only",
        "stopped": "Vehicle stopped",
        "recovered": "Vehicle or plate recovered",
        "arrested": "Arrest",
        "cited": "Citation",
        "passed_on": "Passed on to another unit",
    }
)
REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "system_down": "MNJIS/NLETS is down",
        "no_answer": "No answer in time",
        "danger": "Immediate danger",
        "pursuit": "Pursuit",
        "no_terminal": "No terminal and no radio",
    }
)
"""Why a verification was not practicable."""
CLEARED_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "entry_recalled": "Entry was recalled",
        "owner_identified": "Owner is driving",
        "recovered_before": "Recovered before",
        "other_vehicle": "Another vehicle's entry",
    }
)
"""Why a plate need not alarm again in this shift."""
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./:-]{1,31}")


class Disposition(Closed):
    """What is known so far about one alert; ``by`` and ``at`` of each step are in the trail."""

    agrees: bool | None = None
    """Whether plate and state agree with the picture; ``None`` before the look."""
    misread: bool = False
    result: Result | None = None
    reason: str = ""
    """Why not practicable, or why cleared."""
    reference: str = ""
    action: Action | None = None
    dispatch: bool | None = None
    """Whether dispatch was told, by a person who may not see the entry; ``None``: not said."""
    note: str = ""
    """Of who handed the unresolved alert over."""

    @property
    def settled(self) -> bool:
        """Whether nothing is left to find out or to record."""
        return (
            self.misread
            or self.dispatch is not None
            or self.result in ("not_confirmed", "cleared")
            or (self.result is not None and self.action is not None)
        )

    def look(self, agrees: bool) -> Disposition:
        """The person compared the picture; "no" is a misread.

        Raises:
            RefusedError: ``out_of_order``: there is a result already.
        """
        if self.result is not None:
            raise _order("The verification is recorded already.", "go on with the action taken")
        return self.model_copy(update={"agrees": agrees, "misread": not agrees})

    def verified(self, result: str, reason: str, reference: str, *, plate: str) -> Disposition:
        """The answer of MNJIS/NLETS, or why there is none.

        Args:
            plate: the text read, which the reference must not contain.

        Raises:
            RefusedError: ``out_of_order`` (no look at the picture yet, action recorded),
                ``bad_field`` (unknown result, reason missing, reference that is none).
        """
        if not self.agrees:
            raise _order(
                "First say whether plate and state agree with the picture.", "look at the picture"
            )
        if self.action is not None:
            raise _order("An action is recorded already.", "call the ALPR administrator")
        if result not in get_args(Result):
            raise _bad("This is no result of a verification.")
        if result == "not_practicable" and reason not in REASONS:
            raise _bad("Say why the verification was not practicable.")
        if result == "cleared" and reason not in CLEARED_REASONS:
            raise _bad("Say why the plate is cleared.")
        if result in ("confirmed", "not_confirmed") and reason:
            raise _bad("This result has no reason.")
        self._check_reference(result, reference, plate)
        return self.model_copy(update={"result": result, "reason": reason, "reference": reference})

    @staticmethod
    def _check_reference(result: str, reference: str, plate: str) -> None:
        if not reference and result in ("confirmed", "cleared"):
            raise _bad("Give the reference of the query.")
        squeezed = re.sub(r"[^A-Z0-9]", "", reference.upper())
        if reference and (not _REFERENCE.fullmatch(reference) or (plate and plate in squeezed)):
            raise _bad(
                "A reference has 2 to 32 letters, digits, blanks or . / : - and is not the plate."
            )

    def acted(self, action: str) -> Disposition:
        """What was done.

        Raises:
            RefusedError: ``out_of_order``: no result yet; ``bad_field``: no such action.
        """
        if self.result is None:
            raise _order(
                "No action can be recorded before the verification.",
                "record the result of MNJIS/NLETS, or why it was not practicable",
            )
        if action not in get_args(Action):
            raise _bad("This is no action of the list.")
        return self.model_copy(update={"action": action})

    def told_dispatch(self, done: bool) -> Disposition:
        """A person without clearance told dispatch about the alert, or could not.

        Raises:
            RefusedError: ``out_of_order``: somebody who may see it has begun to settle it.
        """
        if self.agrees is not None or self.misread:
            raise _order("Somebody is settling this alert already.", "leave it to that person")
        return self.model_copy(update={"dispatch": done})

    def handed_over(self, note: str) -> Disposition:
        """Left to the next person.

        Raises:
            RefusedError: ``bad_field``: no note, or a long one.
        """
        if not 3 <= len(note.strip()) <= 200:
            raise _bad("Give a note of 3 to 200 characters.")
        return self.model_copy(update={"note": note.strip()})


def _order(message: str, remedy: str) -> RefusedError:
    return RefusedError(message, reason="out_of_order", remedy=remedy)


def _bad(message: str) -> RefusedError:
    return RefusedError(message, reason="bad_field")
