#!/usr/bin/python3
"""A server of RTSP that takes what is recorded at /vm, and writes its frames to standard output: `rtsp_server.py PORT`."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
factory.set_launch("( rtph264depay name=depay0 ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=RGB ! "
                   "fdsink sync=false )")
server.get_mount_points().add_factory("/vm", factory)
server.attach(None)
GLib.MainLoop().run()
