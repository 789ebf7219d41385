"""A vhost-user GPU that lies: it updates a scanout that it never made. It speaks just enough of vhost-user for QEMU to start it."""

import socket
import struct
import threading

# QEMU's docs/interop/vhost-user.rst and vhost-user-gpu.rst.
GET_FEATURES, GET_VRING_BASE, GET_PROTOCOL_FEATURES, GET_CONFIG, GPU_SET_SOCKET = 1, 11, 15, 24, 33
FEATURES = 1 << 32 | 1 << 30 | 1 << 1  # VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES, VIRTIO_GPU_F_EDID
PROTOCOL_FEATURES = 1 << 9  # CONFIG
REPLY = 1 | 1 << 2  # version 1, and that it is a reply
GPU_UPDATE = 8


class LyingBackend:
    """Listens at `path` in a thread of its own until it is stopped."""

    def __init__(self, path):
        self.path = path
        self.lied = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.gpu = None
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self):
        self.listener.close()

    def _serve(self):
        try:
            peer, _ = self.listener.accept()
            with peer:
                while self._message(peer):
                    pass
        except OSError:
            pass  # QEMU ended, or the test

    def _message(self, peer):
        header, fds, *_ = socket.recv_fds(peer, 12, 8)
        if len(header) < 12:
            return False
        request, _, size = struct.unpack("=III", header)
        body = peer.recv(size, socket.MSG_WAITALL) if size else b""
        if request == GPU_SET_SOCKET:
            self.gpu = socket.socket(fileno=fds[0])
            update = struct.pack("=5I", 0, 0, 0, 8, 8) + bytes(8 * 8 * 4)
            self.gpu.sendall(struct.pack("=III", GPU_UPDATE, 0, len(update)) + update)
            self.lied = True
            return True
        answer = {GET_FEATURES: struct.pack("=Q", FEATURES), GET_PROTOCOL_FEATURES: struct.pack("=Q", PROTOCOL_FEATURES),
                  GET_VRING_BASE: body[:4] + bytes(4), GET_CONFIG: body}.get(request)
        if answer is not None:
            peer.sendall(struct.pack("=III", request, REPLY, len(answer)) + answer)
        return True
