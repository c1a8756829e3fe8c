"""Objects in a bucket of an S3-compatible server.

Only one bucket that keeps nothing of what is removed will do: with versions, object lock or
replication a removed picture stays somewhere, so such a bucket is refused at the opening and at
each purge (R-460.5-4b; its keys are destroyed all the same). Every object is sent with its MD5,
so that a server that got other bytes answers with an error instead of success.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from alprd.central.storage.objects import Kind
from alprd.errors import ConfigError, EnvelopeError, StoreError

_PARALLEL: Final = 16
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_NONE_SET: Final = frozenset(
    {"ReplicationConfigurationNotFoundError", "ObjectLockConfigurationNotFoundError"}
    | {"NotImplemented", "MethodNotAllowed", "XNotImplemented"}
)
"""What servers answer that have no such setting, or no such feature."""


class S3Objects:
    """Objects of one agency below a prefix of a bucket.

    Args:
        bucket: its name; it must exist.
        prefix: in front of every name, empty or ending with ``/``.
        endpoint: URL of the server; empty: the public one of the region.
        region: the bucket's region.
        credentials: access key id and secret key.

    Raises:
        ConfigError: boto3 is not installed.
    """

    def __init__(
        self, bucket: str, prefix: str, *, endpoint: str, region: str, credentials: tuple[str, str]
    ) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise ConfigError(
                "the settings name an S3 bucket, but its client is not installed",
                remedy="pip install 'alprd[central,s3]'",
            ) from None
        self._bucket, self._prefix = bucket, prefix
        # A session of its own, with both halves given: nothing is taken from the environment.
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region or None,
            aws_access_key_id=credentials[0],
            aws_secret_access_key=credentials[1],
            config=Config(
                signature_version="s3v4",
                connect_timeout=5,
                read_timeout=20,
                max_pool_connections=_PARALLEL,
                retries={"mode": "standard", "max_attempts": 4},
                s3={"addressing_style": "path" if endpoint else "auto"},
                # Not every compatible server knows the newer checksums; the MD5 does the same.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, kind: Kind, objects: Mapping[str, bytes]) -> None:
        """See :class:`alprd.central.storage.objects.Objects`."""

        def one(item: tuple[str, bytes]) -> None:
            name, data = item
            digest = hashlib.md5(data, usedforsecurity=False).digest()
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(kind, name),
                Body=data,
                ContentType="application/octet-stream",
                ContentMD5=base64.b64encode(digest).decode(),
            )

        self._each(one, objects.items())

    def replace(self, kind: Kind, name: str, data: bytes, beside: Iterable[str]) -> None:
        """See :class:`alprd.central.storage.objects.Objects`; a bucket's times cannot be set.

        So every object of the hour is written again, as it is, and all times are new.
        """
        others = [other for other in beside if other != name]
        half = len(others) // 2
        self._each(lambda other: self._again(kind, other), others[:half])
        self.put(kind, {name: data})
        self._each(lambda other: self._again(kind, other), others[half:])

    def _again(self, kind: Kind, name: str) -> None:
        try:
            self.put(kind, {name: self.get(kind, name)})
        except EnvelopeError:
            return  # it never had pictures

    def get(self, kind: Kind, name: str) -> bytes:
        """See :class:`alprd.central.storage.objects.Objects`."""
        with self._errors(kind, name):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(kind, name))
            return bytes(answer["Body"].read())
        raise AssertionError

    def size(self, kind: Kind, name: str) -> int | None:
        """See :class:`alprd.central.storage.objects.Objects`."""
        try:
            with self._errors(kind, name):
                answer = self._client.head_object(Bucket=self._bucket, Key=self._key(kind, name))
                return int(answer["ContentLength"])
        except EnvelopeError:
            return None
        raise AssertionError

    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """See :class:`alprd.central.storage.objects.Objects`."""

        def one(name: str) -> None:
            self._client.delete_object(Bucket=self._bucket, Key=self._key(kind, name))

        self._each(one, names)

    def names(self, kind: Kind) -> Iterator[str]:
        """See :class:`alprd.central.storage.objects.Objects`."""
        start = self._key(kind, "")
        with self._errors(kind, ""):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=start):
                for item in page.get("Contents", ()):
                    yield item["Key"][len(start) :]

    def check(self) -> None:
        """See :class:`alprd.central.storage.objects.Objects`."""
        with self._errors("pictures", ""):
            versions = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
            lock = self._asked(self._client.get_object_lock_configuration)
            copies = self._asked(self._client.get_bucket_replication)
        for kept, what in ((versions, "versions"), (lock, "an object lock"), (copies, "copies")):
            if kept:
                raise ConfigError(
                    f"bucket {self._bucket} keeps {what} of removed objects",
                    remedy="make a new bucket without versioning, object lock or replication",
                )

    def _asked(self, question: Callable[..., Any]) -> Any:
        from botocore.exceptions import ClientError

        try:
            answer = question(Bucket=self._bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NONE_SET:
                return None
            raise
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    def _key(self, kind: Kind, name: str) -> str:
        return f"{self._prefix}{kind}/{name}"

    def _each(self, act: Callable[[Any], None], items: Iterable[Any]) -> None:
        wanted = list(items)
        with self._errors("pictures", ""):
            if len(wanted) < 2:
                for item in wanted:
                    act(item)
                return
            with ThreadPoolExecutor(min(_PARALLEL, len(wanted))) as pool:
                for _ in pool.map(act, wanted):
                    pass

    @contextmanager
    def _errors(self, kind: Kind, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if name and code in _MISSING:
                raise EnvelopeError(f"{kind} of {name}: not in the bucket") from error
            raise StoreError(
                f"bucket {self._bucket} answered {code}",
                remedy="check that it exists and what its credentials allow",
            ) from error
        except BotoCoreError as error:
            raise StoreError(
                f"bucket {self._bucket} cannot be reached: {type(error).__name__}",
                remedy="check the endpoint in [storage] and the network",
            ) from error
