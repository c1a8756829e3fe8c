"""A real RTSP server with digest authentication, for tests (GStreamer of Debian).

Run with Debian's own Python, which has the bindings::

    /usr/bin/python3 tests/rtsp_server.py PORT USER PASSWORD_FILE

Serves a test picture as H.264 at ``rtsp://127.0.0.1:PORT/camera`` and prints ``ready`` when it
listens. SIGUSR1 changes the resolution in mid-stream, from 320x240 to 480x272.

Needs: gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-{base,good,bad,ugly}, python3-gi.
"""

import signal
import sys
from pathlib import Path

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found]  # noqa: E402
    GLib,
    Gst,
    GstRtsp,
    GstRtspServer,
)

LAUNCH = (
    "( videotestsrc is-live=true pattern=smpte "
    "! capsfilter name=size caps=video/x-raw,width=320,height=240,framerate=15/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 bitrate=300 "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def main() -> None:
    """Serves until killed."""
    port, user, password_file = sys.argv[1:4]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, Path(password_file).read_text().strip(), token)
    server.set_auth(auth)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(LAUNCH)
    factory.set_shared(True)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/camera", factory)
    playing = []

    def configured(_: object, media: object) -> None:
        playing.append(media.get_element())

    def larger() -> bool:
        caps = Gst.Caps.from_string("video/x-raw,width=480,height=272,framerate=15/1")
        for pipeline in playing:
            pipeline.get_by_name("size").set_property("caps", caps)
        return True

    factory.connect("media-configure", configured)
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, larger)
    if server.attach(None) == 0:
        sys.exit(f"port {port} cannot be bound")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
