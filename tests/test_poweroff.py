"""The drive of the power-off bench forgets what was not flushed, and nothing else."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import av
import pytest

from alprd.detect import Detector
from alprd.frames import Frame
from alprd.ocr import PlateReader
from alprd.profiles import ROAD
from alprd.reader import RoadReader
from bench.guest import tiny
from bench.guest.disk import GROUP, VolatileDisk
from bench.guest.image import _closure, _write_initrd
from bench.poweroff import told

GO, READ, WRITE, DISCONNECT, FLUSH = 7, 0, 1, 2, 3


class Client:
    """What qemu does: a client of the NBD protocol."""

    def __init__(self, path: Path) -> None:
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(str(path))
        assert self.take(18)[:16] == b"NBDMAGICIHAVEOPT"
        self.line.sendall(struct.pack(">I", 3))
        self.option(8, b"")  # structured replies: not known
        assert self.answer()[0] == 0x80000001
        self.option(GO, struct.pack(">IH", 0, 0))
        kind, data = self.answer()
        assert kind == 3
        self.size, flags = struct.unpack(">QH", data[2:])
        assert flags == 1 | 4 | 8  # has flags, flush, FUA
        assert self.answer()[0] == 1

    def option(self, number: int, data: bytes) -> None:
        self.line.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)

    def answer(self) -> tuple[int, bytes]:
        _, _, kind, length = struct.unpack(">QIII", self.take(20))
        return kind, self.take(length)

    def take(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self.line.recv(length - len(data))
            assert part, "the drive hung up"
            data += part
        return data

    def ask(self, kind: int, offset: int = 0, length: int = 0, data: bytes = b"", fua: int = 0):  # type: ignore[no-untyped-def]
        request = struct.pack(">IHHQQI", 0x25609513, fua, kind, 7, offset, length or len(data))
        self.line.sendall(request + data)
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        assert (magic, error, cookie) == (0x67446698, 0, 7)
        return self.take(length) if kind == READ else b""


@pytest.fixture
def disk(tmp_path: Path) -> VolatileDisk:
    image = tmp_path / "medium.img"
    image.write_bytes(bytes(64 * GROUP))
    return VolatileDisk(image, tmp_path / "disk.sock", 5)


def test_flushed_writes_last_and_others_are_lost_by_chance(
    disk: VolatileDisk, tmp_path: Path
) -> None:
    client = Client(disk.path)
    assert client.size == 64 * GROUP
    for number in range(16):
        client.ask(WRITE, number * GROUP, data=bytes([1]) * GROUP)
    client.ask(FLUSH)
    client.ask(WRITE, 16 * GROUP, data=bytes([2]) * GROUP, fua=1)
    for number in range(32, 64):
        client.ask(WRITE, number * GROUP, data=bytes([3]) * GROUP)
    client.ask(WRITE, 100, data=b"late")  # a part of a block that was flushed before
    assert client.ask(READ, 98, 8) == b"\1\1late\1\1"  # answered writes are read back
    assert client.ask(READ, 40 * GROUP - 4, 8) == bytes([3]) * 8
    client.line.close()  # qemu is killed
    time.sleep(0.05)
    lost = disk.cut()
    data = (tmp_path / "medium.img").read_bytes()
    groups = [data[n * GROUP : (n + 1) * GROUP] for n in range(64)]
    assert groups[1:16] == [bytes([1]) * GROUP] * 15
    assert groups[0].count(1) in (GROUP, GROUP - 4)  # whole: the old block or the new one
    assert groups[16] == bytes([2]) * GROUP
    kept = sum(group == bytes([3]) * GROUP for group in groups[32:])
    gone = sum(group == bytes(GROUP) for group in groups[32:])
    assert kept + gone == 32 and kept and gone
    assert lost in (gone, gone + 1) and disk.forgotten == lost
    again = Client(disk.path)  # the next boot sees the medium alone
    assert again.ask(READ, 32 * GROUP, GROUP) == groups[32]
    again.line.close()
    disk.close()


def test_torn_lines_of_the_witness_are_no_commits() -> None:
    whole = '{"id": "ab", "sure": true, "mono_ns": 5, "last_frame_mono_ns": 3}\r'
    found = told(whole)
    assert found is not None and (found.id, found.mono_ns) == ("ab", 5)
    for cut in range(len(whole) - 1):
        assert told(whole[:cut]) is None
    assert told("\0\0[1]") is None


def test_modules_are_loaded_after_what_they_need() -> None:
    depends = {"a/ext4.ko": ["b/jbd2.ko", "c/crc.ko"], "b/jbd2.ko": [], "c/crc.ko": []}
    assert _closure(depends, ("ext4", "built_in")) == ["c/crc.ko", "b/jbd2.ko", "a/ext4.ko"]


def test_the_initial_disk_is_a_cpio_archive(tmp_path: Path) -> None:
    module = tmp_path / "x.ko"
    module.write_bytes(b"12345")
    _write_initrd(tmp_path / "initrd", module, [module])
    data = (tmp_path / "initrd").read_bytes()
    names, at = [], 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        names.append(name)
        at += -(-(110 + fields[11]) // 4) * 4
        if name.endswith("x.ko"):
            assert data[at : at + fields[6]] == b"12345"
        at += -(-fields[6] // 4) * 4
    assert names[-1] == "TRAILER!!!" and "init" in names and "modules/x.ko" in names


@pytest.mark.parametrize("every", [1, 2])
def test_every_plate_of_the_guests_clip_is_read(tmp_path: Path, every: int) -> None:
    """Also where an emulated guest follows half of the pictures only."""
    seconds = 14
    tiny.write_all(tmp_path, seconds, 3)
    detector = Detector(
        tmp_path / "detector.onnx",
        input_size=ROAD.input_size,
        threshold=ROAD.mask_threshold,
        max_upscale=ROAD.max_upscale,
    )
    ocr = PlateReader(tmp_path / "ocr.onnx", tmp_path / "ocr.yaml")
    reader = RoadReader("front", detector, ocr, ROAD)
    events = []
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        for index, picture in enumerate(clip.decode(video=0)):
            if index % every == 0:
                image = picture.to_ndarray(format="bgr24")
                at = round(index / tiny.RATE * 1e9)
                events += reader.process(Frame("front", image, at, index))
    events += reader.flush()
    texts = {event.reading.text for event in events if event.reading}
    assert len(texts) == seconds * tiny.RATE // (tiny.SHOWN + tiny.BARE)
