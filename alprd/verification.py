"""Asking an agency's own query gateway about a matched plate (R-460.4-f2).

Off unless ``[verification] url`` is configured. A query is sent only by a person's own act on an
alert that stands on the board, under that person's sign-on; nothing else in this program calls
it, so a plate that matched nothing can never be asked for. The answer is shown, kept nowhere, and
decides nothing: the person records the result by hand, as they always can.

The gateway answers ``POST url`` with JSON ``{"plate", "state", "person", "unit"}`` by JSON::

    {"registration": "text for the person", "hot_file": "hit" | "none" | "unknown",
     "text": "text for the person", "reference": "number of the query"}
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import httpx
from pydantic import Field, ValidationError

from alprd.config import VerificationSection
from alprd.errors import AlprdError, ConfigError
from alprd.records import Closed

MOST_BYTES: Final = 65_536


class GatewayError(AlprdError):
    """The gateway cannot be reached or answers what is no answer."""

    exit_code = 9


class Answer(Closed):
    """What the gateway says about one plate."""

    registration: Annotated[str, Field(max_length=500)] = ""
    hot_file: Literal["hit", "none", "unknown"] = "unknown"
    text: Annotated[str, Field(max_length=1000)] = ""
    reference: Annotated[str, Field(max_length=32)] = ""


class Gateway(Protocol):
    """An agency's way to MNJIS/NLETS."""

    def ask(self, plate: str, state: str | None, *, person: str, unit: str) -> Answer:
        """One query; raises :class:`GatewayError`."""


class HttpGateway:
    """A gateway behind HTTPS.

    Args:
        url: ``https://…``, or ``http://`` on this computer alone.
        ca_file: PEM of the authority that signed its certificate; the system's by default.
        timeout_s: a deputy does not wait longer.

    Raises:
        ConfigError: ``ca_file`` cannot be used.
    """

    def __init__(self, url: str, *, ca_file: Path | None = None, timeout_s: float = 8.0) -> None:
        self._url = url
        try:
            safe = ssl.create_default_context(cafile=ca_file) if url.startswith("https") else False
        except (OSError, ssl.SSLError) as error:
            why = "is no PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(
                f"[verification] ca_file {ca_file}: {why}",
                remedy="give the PEM of the authority that signed the gateway's certificate",
            ) from None
        self._client = httpx.Client(
            verify=safe, timeout=timeout_s, trust_env=False, follow_redirects=False
        )

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def ask(self, plate: str, state: str | None, *, person: str, unit: str) -> Answer:
        """One query, for one plate.

        Raises:
            GatewayError: no answer in time, an error, or not the agreed JSON; never quotes the
                plate.
        """
        query = {"plate": plate, "state": state, "person": person, "unit": unit}
        try:
            answer = self._client.post(self._url, json=query)
            answer.raise_for_status()
            if len(answer.content) > MOST_BYTES:
                raise _no("too long an answer")
            return Answer.model_validate_json(answer.content)
        except httpx.HTTPError as error:
            raise _no(type(error).__name__) from None
        except ValidationError:
            raise _no("not the agreed answer") from None


def from_config(section: VerificationSection) -> HttpGateway | None:
    """The gateway that the car's configuration names, if any.

    Raises:
        ConfigError: as of :class:`HttpGateway`.
    """
    if not section.url:
        return None
    return HttpGateway(section.url, ca_file=section.ca_file, timeout_s=section.timeout_s)


def _no(why: str) -> GatewayError:
    return GatewayError(
        f"The query gateway did not answer ({why}).",
        remedy="verify by terminal or radio and record the result by hand",
    )
