#!/bin/sh
# Installs what tests need from the system, when this user may (root on Debian or Ubuntu).
# Elsewhere it says what is missing; the tests concerned then skip and say the same.
set -eu
missing=""
need() { # need COMMAND-OR-FILE PACKAGE…
    probe=$1; shift
    case $probe in
        /*) [ -e "$probe" ] && return 0 ;;
        *) command -v "$probe" >/dev/null 2>&1 && return 0 ;;
    esac
    missing="$missing $*"
}
need chromium chromium
need certutil libnss3-tools
need ffmpeg ffmpeg
if ! /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null; then
    missing="$missing python3-gi gir1.2-gst-rtsp-server-1.0"
fi
need /usr/lib/x86_64-linux-gnu/gstreamer-1.0/libgstx264.so \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    gstreamer1.0-plugins-ugly
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    missing="$missing postgresql"
fi
need softhsm2-util softhsm2
# The guest of `make test-slow` and `make bench-poweroff`: too large to bring unasked.
if [ "${1:-}" = guest ]; then
    need qemu-system-x86_64 qemu-system-x86
    need debootstrap debootstrap
    need mke2fs e2fsprogs
fi
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "some tests will skip; to run them: apt-get install$missing" >&2
fi
