"""The car API: what vehicles may ask, each by its own client certificate (R-460.5-2).

Only ``/v1/enrol`` and the CA's public certificate answer without one; the server's TLS layer
verifies a presented certificate against the CA, this module checks that it is a live car's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from alprd import crypto
from alprd.central.fleet import enrolment, orders, vehicles, wipes
from alprd.central.fleet.vehicles import Vehicle
from alprd.central.publication import publish
from alprd.central.receiving import intake, reports
from alprd.central.storage import ca, repository
from alprd.central.storage.store import Central
from alprd.errors import (
    AlprdError,
    AuditError,
    EnvelopeError,
    InputError,
    RefusedError,
    SignatureError,
    StoreError,
)
from alprd.wire import MAX_BATCH_BYTES, EnrolRequest

log: Final = logging.getLogger("alprd.central.receiving.carapi")
_MAX_DOCUMENT: Final = 8_000_000
_METADATA: Final = re.compile(r"^(\d{1,10}\.)?(root|targets|snapshot|timestamp)\.json$")
_TARGET: Final = re.compile(r"^[0-9a-f]{64}\.[A-Za-z0-9][A-Za-z0-9_.-]{0,120}$")
_STATUS: Final[tuple[tuple[type[AlprdError], int, str], ...]] = (
    (RefusedError, 403, ""),
    (SignatureError, 403, "bad_signature"),
    (AuditError, 409, "trail_broken"),
    (StoreError, 503, "store_unavailable"),
    (EnvelopeError, 400, "bad_envelope"),
    (InputError, 400, "bad_input"),
)


def error_response(status: int, code: str, message: str) -> JSONResponse:
    """The one form of an error."""
    return JSONResponse({"error": code, "message": message}, status)


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, AlprdError):
        for kind, status, code in _STATUS:
            if isinstance(error, kind):
                reason = error.reason if isinstance(error, RefusedError) else code
                log.warning("%s: %s", reason, error.message)
                return error_response(status, reason, error.message)
    if isinstance(error, HTTPException):
        return error_response(error.status_code, "http", str(error.detail))
    log.error("unexpected %s in the car API", type(error).__name__)
    return error_response(500, "internal", "central failed; nothing was stored")


async def _body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is over the limit."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise HTTPException(413, f"body is over {limit} bytes")
            parts.append(part)
    except ClientDisconnect:  # a car that lost its power or its dock: it will send all of it again
        log.info("a car hung up in mid-upload; nothing of it was taken")
        raise HTTPException(400, "the upload broke off") from None
    return b"".join(parts)


Handler = Callable[[Request, Vehicle], Awaitable[Response]]


class CarApi:
    """The routes of one agency."""

    def __init__(self, central: Central) -> None:
        self.central = central
        self._tuf = central.home / "tuf"

    def app(self) -> Starlette:
        """The ASGI application; its server must set ``scope["client_certificate"]`` (DER)."""
        return Starlette(
            routes=[
                Route("/v1/ca", self.authority),
                Route("/v1/enrol", self.enrol, methods=["POST"]),
                Route("/v1/hello", self._car(self.hello)),
                Route("/v1/permit", self._car(self.permit)),
                Route("/v1/orders", self._car(self.ordered, revoked=True), methods=["GET"]),
                Route("/v1/orders", self._car(self.receipts), methods=["POST"]),
                Route("/v1/renew", self._car(self.renew), methods=["POST"]),
                Route("/v1/unlock", self._car(self.unlock)),
                Route("/v1/health", self._car(self.health), methods=["POST"]),
                Route("/v1/wipe", self._car(self.wipe, revoked=True), methods=["POST"]),
                Route("/v1/batches", self._car(self.batches), methods=["POST"]),
                Route("/v1/sessions", self._car(self.sessions), methods=["POST"]),
                Route("/v1/audit", self._car(self.audit), methods=["POST"]),
                Route("/tuf/metadata/{name}", self._car(self.metadata)),
                Route("/tuf/targets/{name}", self._car(self.target)),
            ],
            exception_handlers={
                AlprdError: _on_error,
                HTTPException: _on_error,
                Exception: _on_error,
            },
        )

    def _car(
        self, handler: Handler, *, revoked: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Let a request through for a live car only, or for a revoked one too."""

        async def guarded(request: Request) -> Response:
            der = request.scope.get("client_certificate")
            find = partial(vehicles.by_certificate, revoked=revoked)
            vehicle = await run_in_threadpool(find, self.central, der)
            return await handler(request, vehicle)

        return guarded

    async def authority(self, request: Request) -> Response:
        """The CA certificate in PEM: public, and worthless unless it fits the code's pin."""
        return PlainTextResponse(ca.pem(self.central.ca), media_type="application/x-pem-file")

    async def enrol(self, request: Request) -> Response:
        """One-time code and keys against a certificate; the new car's targets are published."""
        try:
            wanted = EnrolRequest.model_validate_json(await _body(request, 100_000))
        except ValidationError:
            return error_response(400, "bad_input", "enrolment request does not fit its schema")
        root = repository.first_root(self.central)
        reply = await run_in_threadpool(enrolment.enrol, self.central, wanted, root)
        await run_in_threadpool(publish.publish, self.central)
        return _document(reply)

    async def hello(self, request: Request, vehicle: Vehicle) -> Response:
        """Signed time."""
        nonce = request.query_params.get("nonce", "")[:128]
        return _document(await run_in_threadpool(vehicles.hello, self.central, vehicle, nonce))

    async def permit(self, request: Request, vehicle: Vehicle) -> Response:
        """Signed permit."""
        return _document(await run_in_threadpool(vehicles.permit, self.central, vehicle))

    async def ordered(self, request: Request, vehicle: Vehicle) -> Response:
        """What this car is ordered to do."""
        nonce = request.query_params.get("nonce", "")[:128]
        return _document(await run_in_threadpool(wipes.orders_for, self.central, vehicle, nonce))

    async def receipts(self, request: Request, vehicle: Vehicle) -> Response:
        """What the car has done of its orders."""
        document = await _signed(request)
        return _document(
            await run_in_threadpool(orders.accept_receipts, self.central, vehicle, document)
        )

    async def health(self, request: Request, vehicle: Vehicle) -> Response:
        """How the car does."""
        document = await _signed(request)
        return _document(
            await run_in_threadpool(orders.accept_health, self.central, vehicle, document)
        )

    async def renew(self, request: Request, vehicle: Vehicle) -> Response:
        """A new certificate for the car's new key."""
        document = await _signed(request)
        return _document(await run_in_threadpool(enrolment.renew, self.central, vehicle, document))

    async def unlock(self, request: Request, vehicle: Vehicle) -> Response:
        """What opens the car's wrap key at rest."""
        return _document(await run_in_threadpool(vehicles.unlock, self.central, vehicle))

    async def wipe(self, request: Request, vehicle: Vehicle) -> Response:
        """The certificate of a car that wiped itself."""
        document = await _signed(request)
        reply = await run_in_threadpool(wipes.accept_wipe, self.central, vehicle, document)
        await run_in_threadpool(partial(publish.publish, self.central, fresh_keys=True))
        return _document(reply)

    async def batches(self, request: Request, vehicle: Vehicle) -> Response:
        """A batch of sealed reads against a receipt."""
        body = await _body(request, MAX_BATCH_BYTES + 1_000_000)
        # A shielded thread: a car that hangs up must not leave a half-answered transaction.
        work = asyncio.ensure_future(
            run_in_threadpool(intake.accept_batch, self.central, vehicle, body)
        )
        return _document(await asyncio.shield(work))

    async def sessions(self, request: Request, vehicle: Vehicle) -> Response:
        """Ended sessions."""
        document = await _signed(request)
        return _document(
            await run_in_threadpool(reports.accept_sessions, self.central, vehicle, document)
        )

    async def audit(self, request: Request, vehicle: Vehicle) -> Response:
        """Events of the car's trail."""
        document = await _signed(request)
        return _document(
            await run_in_threadpool(reports.accept_audit, self.central, vehicle, document)
        )

    async def metadata(self, request: Request, vehicle: Vehicle) -> Response:
        """TUF metadata."""
        return self._file("metadata", request.path_params["name"], _METADATA)

    async def target(self, request: Request, vehicle: Vehicle) -> Response:
        """A TUF target by its digest-prefixed name; a car gets no other car's wraps."""
        name = request.path_params["name"]
        if ".wraps-" in name and not name.endswith(f".wraps-{vehicle.name}.json"):
            return error_response(404, "not_found", "no such target")
        return self._file("targets", name, _TARGET)

    def _file(self, folder: str, name: str, allowed: re.Pattern[str]) -> Response:
        path: Path = self._tuf / folder / name
        if not allowed.match(name) or not path.is_file():
            return error_response(404, "not_found", "no such file")
        kind = "application/json" if folder == "metadata" else "application/octet-stream"
        return FileResponse(path, media_type=kind)


async def _signed(request: Request) -> crypto.SignedDocument:
    try:
        return crypto.SignedDocument.model_validate_json(await _body(request, _MAX_DOCUMENT))
    except ValidationError as error:
        raise InputError("body is not a signed document") from error


def _document(record: BaseModel) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
