"""A drive with a volatile write cache, served to qemu over NBD: what a power cut really does.

A drive may answer a write before it is on the medium; only a flush (or a write with FUA) makes it
last. qemu killed with an ordinary image keeps every answered write, because the host lives on,
and so would forgive a database that never flushes. This drive holds answered writes in memory
until the guest flushes; at the cut each of them is kept or lost by chance, sector groups apart
and in no order, as with a real one.

Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle).
"""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from pathlib import Path
from typing import Final

GROUP: Final = 4096
"""Bytes that are kept or lost together: the block of ext4 and of today's drives."""

_OPTION: Final = b"IHAVEOPT"
_REPLY: Final = 0x3E889045565A9
_REQUEST: Final = 0x25609513
_ANSWER: Final = 0x67446698
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _REP_INFO, _UNSUPPORTED = 1, 3, 0x80000001
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_HAS_FLAGS, _SEND_FLUSH, _SEND_FUA = 1, 4, 8
_FUA: Final = 1
_EINVAL: Final = 22


class VolatileDisk:
    """One drive, kept in a raw image; one client (qemu) at a time.

    Args:
        image: the medium; its size is a multiple of 4096 bytes.
        path: the UNIX socket that qemu connects to.
        seed: decides what a cut keeps.

    ``flushes`` and ``forgotten`` (groups of 4096 bytes lost in cuts) count over its life.
    """

    def __init__(self, image: Path, path: Path, seed: int) -> None:
        self._file = os.open(image, os.O_RDWR)
        self._size = os.fstat(self._file).st_size
        self._chance = random.Random(seed)
        self._volatile: dict[int, bytes] = {}  # number of a group → its newest contents
        self._change = threading.Lock()
        self.flushes = 0
        self.forgotten = 0
        path.unlink(missing_ok=True)
        self.path = path
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(path))
        self._door.listen(1)
        self._idle = threading.Event()
        self._idle.set()
        threading.Thread(target=self._serve, name="volatile-disk", daemon=True).start()

    @property
    def drive(self) -> str:
        """The drive as qemu's ``-drive`` names it."""
        return f"file=nbd+unix:///?socket={self.path},cache=writeback"

    def cut(self) -> int:
        """The power is gone: of what was not flushed each group is kept or lost by chance.

        Returns:
            How many groups were lost.
        """
        self._idle.wait(20)  # what qemu had sent is in flight to the drive, and is taken in
        groups = list(self._volatile.items())
        self._volatile.clear()
        lost = 0
        for number, data in groups:
            if self._chance.random() < 0.5:
                os.pwrite(self._file, data, number * GROUP)
            else:
                lost += 1
        self.forgotten += lost
        return lost

    def fork(self, image: Path) -> int:
        """What a cut at this instant would leave, as a drive of its own; this one goes on.

        Args:
            image: the raw image to write.

        Returns:
            How many groups it lacks.
        """
        lost = 0
        with self._change, image.open("wb") as out:
            out.truncate(self._size)
            at = 0
            while at < self._size:
                try:
                    start = os.lseek(self._file, at, os.SEEK_DATA)
                except OSError:  # nothing but holes from here on
                    break
                at = os.lseek(self._file, start, os.SEEK_HOLE)
                os.pwrite(out.fileno(), os.pread(self._file, at - start, start), start)
            for number, data in self._volatile.items():
                if self._chance.random() < 0.5:
                    os.pwrite(out.fileno(), data, number * GROUP)
                else:
                    lost += 1
        return lost

    def close(self) -> None:
        """Take the drive out; what was not flushed is gone."""
        self._door.close()
        os.close(self._file)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._door.accept()
            except OSError:
                return  # closed
            self._idle.clear()
            with line:
                try:
                    if self._negotiate(line):
                        self._transmit(line)
                except (OSError, EOFError):
                    pass  # qemu was killed: what this drive is for
                finally:
                    self._idle.set()

    def _negotiate(self, line: socket.socket) -> bool:
        line.sendall(b"NBDMAGIC" + _OPTION + struct.pack(">H", 3))
        _receive(line, 4)
        flags = _HAS_FLAGS | _SEND_FLUSH | _SEND_FUA
        while True:
            head = _receive(line, 16)
            if head[:8] != _OPTION:
                raise EOFError
            option, length = struct.unpack(">II", head[8:])
            _receive(line, length)

            def reply(kind: int, data: bytes = b"", option: int = option) -> None:
                line.sendall(struct.pack(">QIII", _REPLY, option, kind, len(data)) + data)

            if option == _EXPORT_NAME:
                line.sendall(struct.pack(">QH", self._size, flags))
                return True
            if option in (_GO, _INFO):
                reply(_REP_INFO, struct.pack(">HQH", 0, self._size, flags))
                reply(_ACK)
                if option == _GO:
                    return True
            elif option == _ABORT:
                reply(_ACK)
                return False
            else:
                reply(_UNSUPPORTED)

    def _transmit(self, line: socket.socket) -> None:
        while True:
            magic, flags, kind, cookie, offset, length = struct.unpack(
                ">IHHQQI", _receive(line, 28)
            )
            if magic != _REQUEST:
                raise EOFError
            data, error = b"", 0
            if kind == _WRITE:
                written = _receive(line, length)
                with self._change:
                    self._write(offset, written)
                    if flags & _FUA:
                        self._flush(offset // GROUP, (offset + length + GROUP - 1) // GROUP)
            elif kind == _READ:
                data = self._read(offset, length)
            elif kind == _FLUSH:
                self.flushes += 1
                with self._change:
                    self._flush(0, self._size // GROUP)
            elif kind == _DISCONNECT:
                return
            else:
                error = _EINVAL
            line.sendall(struct.pack(">IIQ", _ANSWER, error, cookie) + data)

    def _group(self, number: int) -> bytes:
        held = self._volatile.get(number)
        return os.pread(self._file, GROUP, number * GROUP) if held is None else held

    def _write(self, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, inside = divmod(offset + at, GROUP)
            part = data[at : at + GROUP - inside]
            whole = self._group(number) if len(part) < GROUP else b""
            self._volatile[number] = whole[:inside] + part + whole[inside + len(part) :]
            at += len(part)

    def _read(self, offset: int, length: int) -> bytes:
        first, last = offset // GROUP, (offset + length + GROUP - 1) // GROUP
        if not any(number in self._volatile for number in range(first, last)):
            return os.pread(self._file, length, offset)
        whole = b"".join(self._group(number) for number in range(first, last))
        return whole[offset - first * GROUP :][:length]

    def _flush(self, first: int, last: int) -> None:
        for number in [n for n in self._volatile if first <= n < last]:
            os.pwrite(self._file, self._volatile.pop(number), number * GROUP)


def _receive(line: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        data = line.recv(length - len(parts))
        if not data:
            raise EOFError
        parts += data
    return bytes(parts)
