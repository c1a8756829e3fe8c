"""A wrong system clock for one process, made without touching the machine's own.

The product reads the system clock like any program and has no switch to fake it. The bench puts a
small library before the C library (LD_PRELOAD) that adds an offset, read from a file that is
mapped into memory, to CLOCK_REALTIME; CLOCK_MONOTONIC stays as it is. Who can set the environment
of a daemon owns it anyway, so this opens nothing in a car.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_gettime = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("BENCH_CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) shift = map;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *out) {
    if (!real_gettime)
        real_gettime = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int said = real_gettime(id, out);
    if (!said && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        out->tv_sec += *shift;
    return said;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void) zone;
    struct timespec now;
    int said = clock_gettime(CLOCK_REALTIME, &now);
    if (!said && out) { out->tv_sec = now.tv_sec; out->tv_usec = now.tv_nsec / 1000; }
    return said;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


class WrongClock:
    """The library and its offset, in a folder of the bench.

    ``environment`` is what a process needs to live by it. ``there`` is False where no C compiler
    is: rows that need a wrong clock are then left out.
    """

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock-shift"
        self._offset.write_bytes(struct.pack("=q", 0))
        compiler = shutil.which("cc")
        self.there = compiler is not None
        self.environment: dict[str, str] = {}
        if compiler is None:
            return
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SOURCE)
        subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"],
            check=True,
            capture_output=True,
        )
        self.environment = {"LD_PRELOAD": str(library), "BENCH_CLOCK_SHIFT": str(self._offset)}

    def shift(self, seconds: int) -> None:
        """Set the system clock of the processes by so much, at once."""
        with self._offset.open("r+b") as file:  # in place: the file is mapped
            file.write(struct.pack("=q", seconds))
