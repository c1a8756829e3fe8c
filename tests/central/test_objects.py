"""Encrypted files in a folder and in a bucket of a real S3 server keep one promise."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from central_world import make_home, run
from hold_world import START, World
from s3server import ID, REGION, SECRET, Bucket, S3Server

from alprd.central.storage import config, vault
from alprd.central.storage.objects import FolderObjects, Objects
from alprd.central.storage.s3 import S3Objects
from alprd.central.storage.store import open_objects
from alprd.central.upkeep import retention
from alprd.errors import ConfigError, EnvelopeError, StoreError
from alprd.records import new_id

pytestmark = pytest.mark.policy("R-460.5-4b")


def opened(bucket: Bucket, prefix: str = "") -> S3Objects:
    return S3Objects(
        bucket.name, prefix, endpoint=bucket.endpoint, region=REGION, credentials=(ID, SECRET)
    )


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        for kind in ("pictures", "quarantine", "holds"):
            (tmp_path / kind).mkdir()
        return FolderObjects(tmp_path)
    server: S3Server = request.getfixturevalue("s3")
    return opened(server.bucket(), "some/place/")


def test_what_is_put_is_there_and_what_is_removed_is_gone(objects: Objects) -> None:
    objects.check()
    names = [new_id() for _ in range(40)]
    objects.put("pictures", {name: name.encode() for name in names})
    objects.put("quarantine", {"f" * 64: b"foul"})
    assert set(objects.names("pictures")) == set(names)
    assert objects.get("pictures", names[3]) == names[3].encode()
    assert objects.size("pictures", names[3]) == 32
    objects.put("pictures", {names[3]: b"again"})
    assert objects.get("pictures", names[3]) == b"again"
    objects.remove("pictures", [*names, new_id()])
    assert list(objects.names("pictures")) == []
    assert objects.size("pictures", names[0]) is None
    with pytest.raises(EnvelopeError):
        objects.get("pictures", names[0])
    assert list(objects.names("quarantine")) == ["f" * 64]


def test_more_objects_than_one_answer_lists(s3: S3Server) -> None:
    bucket = s3.bucket()
    objects = opened(bucket)
    names = {f"{number:032x}" for number in range(1100)}
    objects.put("pictures", dict.fromkeys(names, b"x"))
    assert set(objects.names("pictures")) == names


@pytest.mark.policy("R-460.5-b4")
def test_nobody_can_tell_which_object_was_replaced(objects: Objects, tmp_path: Path) -> None:
    names = [new_id() for _ in range(5)]
    objects.put("pictures", {name: b"before" for name in names})
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "pictures").rglob("*")}
    time.sleep(1.1)  # a bucket counts seconds
    objects.replace("pictures", names[2], b"after!", names)
    assert [objects.get("pictures", n) for n in names] == [
        b"after!" if n == names[2] else b"before" for n in names
    ]
    if isinstance(objects, S3Objects):
        listed = objects._client.list_objects_v2(Bucket=objects._bucket)["Contents"]
        moments = {item["LastModified"] for item in listed}
        assert (max(moments) - min(moments)).total_seconds() <= 1
        assert (time.time() - min(moments).timestamp()) < 30
    else:
        assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "pictures").rglob("*")} == times


def test_a_bucket_that_keeps_versions_is_refused(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket()
    for state in ("Enabled", "Suspended"):
        bucket.client.put_bucket_versioning(
            Bucket=bucket.name, VersioningConfiguration={"Status": state}
        )
        with pytest.raises(ConfigError, match="keeps versions"):
            opened(bucket).check()
    refused = run(
        tmp_path / "home", "init", "--agency", "becker", "--name", "Test",
        *bucket.options(tmp_path), check=False,
    )  # fmt: skip
    assert "keeps versions" in refused.stderr
    assert not (tmp_path / "home").exists()
    locked = f"{bucket.name}-locked"
    bucket.client.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    bucket.name = locked
    with pytest.raises(ConfigError, match="keeps"):
        opened(bucket).check()


def test_a_bucket_that_is_not_there_is_told(s3: S3Server) -> None:
    bucket = s3.bucket()
    bucket.client.delete_bucket(Bucket=bucket.name)
    objects = opened(bucket)
    with pytest.raises(StoreError, match="answered NoSuchBucket"):
        objects.put("pictures", {new_id(): b"x"})
    with pytest.raises(StoreError, match="answered NoSuchBucket"):
        objects.get("pictures", new_id())
    with socket.create_server(("127.0.0.1", 0)) as free:
        bucket.endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StoreError, match="cannot be reached"):
        opened(bucket).put("pictures", {new_id(): b"x"})


def test_credentials_are_files_that_only_the_service_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.StorageSettings(pictures="s3://some-bucket/a/", credentials="s3")
    with pytest.raises(ConfigError, match="cannot be read"):
        open_objects(tmp_path, settings)
    (tmp_path / "s3").write_text("id\nsecret\n")
    (tmp_path / "s3").chmod(0o644)
    with pytest.raises(ConfigError, match="readable by others"):
        open_objects(tmp_path, settings)
    (tmp_path / "s3").chmod(0o600)
    settings = settings.model_copy(update={"region": "us-east-1"})
    assert isinstance(open_objects(tmp_path, settings), S3Objects)
    (tmp_path / "s3").unlink()
    given = tmp_path / "given"
    given.mkdir()
    (given / "s3").write_text("id\nsecret\n")
    monkeypatch.setitem(os.environ, "CREDENTIALS_DIRECTORY", str(given))
    assert isinstance(open_objects(tmp_path, settings), S3Objects)
    (given / "s3").write_text("one line\nof three words\n")
    with pytest.raises(ConfigError, match="two lines"):
        open_objects(tmp_path, settings)


@pytest.mark.policy("R-460.5-2", "R-460.5-4")
def test_reads_live_and_die_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket()
    world = World(tmp_path / "home", storage=storage(bucket, tmp_path))
    read = world.store("BKT4711")
    ((key, content),) = bucket.content().items()
    assert key == f"alprd/pictures/{read}"
    read_key = world.central.keystore.open_read_keys([read])[read]
    plate, _ = vault.open_pictures(world.central.objects, read, read_key)
    assert plate.startswith(b"\xff\xd8")
    assert plate not in content
    assert list((world.home / "pictures").iterdir()) == []
    world.central.objects.put("pictures", {new_id(): b"of an intake that died"})
    assert retention.purge(world.central).orphans == 1
    world.now = START.replace(month=4)
    retention.purge(world.central)
    assert bucket.content() == {}
    world.close()


def test_nothing_is_receipted_that_the_bucket_did_not_take(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket()
    world = World(tmp_path / "home", storage=storage(bucket, tmp_path))
    bucket.client.delete_bucket(Bucket=bucket.name)
    read, envelope = world.envelope("BKT4712", world.now)
    with pytest.raises(StoreError):
        world.send(read, envelope)
    assert world.found(world.now) == set()
    bucket.client.create_bucket(Bucket=bucket.name)
    assert world.send(read, envelope) == "stored"
    assert world.found(world.now) == {read.id}
    world.close()


def storage(bucket: Bucket, folder: Path) -> config.StorageSettings:
    return config.StorageSettings(
        pictures=f"s3://{bucket.name}/alprd",
        endpoint=bucket.endpoint,
        region=REGION,
        credentials=str(bucket.credentials(folder)),
    )


def test_init_writes_the_bucket_into_the_settings(s3: S3Server, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", *s3.bucket().options(tmp_path))
    assert config.load(home).storage.pictures.startswith("s3://alprd-")
    assert run(home, "purge")["orphans"] == 0
