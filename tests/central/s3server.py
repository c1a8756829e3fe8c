"""A real server of the S3 API (moto, a process of its own), spoken to over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx

ID, SECRET = "alprd-test", "not-a-secret-of-anybody"
REGION = "us-east-1"


class Bucket:
    """A bucket of a running server, and a client beside the product's own."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint, self.name = endpoint, name
        self.client: Any = boto3.session.Session().client(
            "s3", endpoint_url=endpoint, region_name=REGION,
            aws_access_key_id=ID, aws_secret_access_key=SECRET,
        )  # fmt: skip
        self.client.create_bucket(Bucket=name)

    def content(self, prefix: str = "") -> dict[str, bytes]:
        """Every object of the bucket below a prefix."""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        ):
            for item in page.get("Contents", ()):
                body = self.client.get_object(Bucket=self.name, Key=item["Key"])["Body"]
                found[item["Key"]] = body.read()
        return found

    def credentials(self, folder: Path) -> Path:
        """A file with them, as the product wants it."""
        path = folder / "s3.credentials"
        path.write_text(f"{ID}\n{SECRET}\n")
        path.chmod(0o600)
        return path

    def options(self, folder: Path, prefix: str = "alprd") -> list[str]:
        """Options of ``alprd-central init``."""
        return [
            "--pictures", f"s3://{self.name}/{prefix}", "--endpoint", self.endpoint,
            "--region", REGION, "--credentials", str(self.credentials(folder)),
        ]  # fmt: skip


class S3Server:
    """The running server; :meth:`bucket` makes a bucket."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._made = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 60
        while True:
            try:
                httpx.get(self.endpoint, timeout=5)
                return
            except httpx.HTTPError:
                assert time.monotonic() < end, "the S3 server did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def bucket(self) -> Bucket:
        """A new, empty bucket."""
        self._made += 1
        return Bucket(self.endpoint, f"alprd-{self._made}")


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that runs while the block does."""
    server = S3Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
