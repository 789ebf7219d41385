"""What media servers, and files, get of the picture. The receivers are pipelines of GStreamer."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image

from metrics import _samples as samples
from recordings import _decode
from rig import Process, Skip, eventually, free_port

SIZE = (1280, 720)
DECODE = "h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=RGB ! fdsink sync=false"
RTP = "application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96"
SUBSCRIBERS = 50
FRAMES = 25  # that each of them is to get
JANUS = {  # its configuration: by file
    "janus.jcfg": 'general: { admin_secret = "-" }\nplugins: { disable = "" }\n',
    "janus.transport.http.jcfg": 'general: { http = true, port = HTTP, ip = "127.0.0.1", json = "compact" }\n',
    "janus.plugin.streaming.jcfg": 'vm: { type = "rtp", id = 1, media = ( { type = "video", mid = "v", label = "vm", port = PORT, '
                                   'rtcpport = PORT1, pt = 96, codec = "h264", fmtp = "packetization-mode=1" } ) }\n',
}
AGAIN = 20  # seconds for a target to be tried again, and for the next key frame


def rtp(rig):
    """RTP shows what the guest shows, also to who begins to receive later, beside a viewer"""
    rig.needs_program()
    vm, bus, port = rig.vm(), rig.bus(), free_port()
    server = rig.serve(vm, "--publish", f"rtp://127.0.0.1:{port}", "--relay-bus", bus.address, "--metrics-addr", "127.0.0.1:0")
    receiver = _Receiver(rig, f"udpsrc port={port} caps={RTP} ! rtpjitterbuffer latency=0 ! rtph264depay")
    receiver.shows(vm)
    before = receiver.frames
    vm.stage("animate 100000 20")
    eventually(lambda: receiver.frames >= before + 20, "twenty frames", limit=AGAIN)
    client = rig.client(server)
    client("wait-picture")
    rows = {row["transport"]: row for row in rig.status(bus)["Viewers"]}
    told = rows["publish"]
    assert told["delivery"] == "Encode(h264)" and told["peer"] == f"rtp://127.0.0.1:{port}" and told["sent"] > 20, rows
    receiver.stop()
    receiver = _Receiver(rig, f"udpsrc port={port} caps={RTP} ! rtpjitterbuffer latency=0 ! rtph264depay")
    vm.stage("stop")
    receiver.shows(vm)
    rig.same_picture(vm, client)


def stalled(rig):
    """a server that takes nothing for a while holds neither guest nor viewer, and has the picture again when it goes on"""
    rig.needs_program()
    vm, bus, port = rig.vm(), rig.bus(), free_port()
    server = rig.serve(vm, "--publish", f"rtmp://127.0.0.1:{port}/live/vm", "--relay-bus", bus.address)
    nginx, client = _nginx(rig, port), rig.client(server)
    receiver = _Receiver(rig, f"rtmp2src location=rtmp://127.0.0.1:{port}/live/vm ! flvdemux", tries=10)
    receiver.shows(vm)
    vm.stage("film motion")
    vm.stage("play 100000 20")
    nginx.process.send_signal(signal.SIGSTOP)
    dropped = lambda: next(row["dropped"] for row in rig.status(bus)["Viewers"] if row["transport"] == "publish")  # noqa: E731
    eventually(lambda: dropped() > 50, "frames that the server does not take", limit=90)
    before = client("stats")["changes"]
    client("sleep 1000")
    assert client("stats")["changes"] > before + 5, "the viewer is held"
    nginx.process.send_signal(signal.SIGCONT)
    vm.stage("stop")
    vm.stage("picture")
    receiver.shows(vm)
    rig.same_picture(vm, client)


def rtsp(rig):
    """a server of RTSP (GStreamer's) is sent the picture, and gets it again after it was started anew"""
    rig.needs_program()
    vm, port = rig.vm(), free_port()
    rig.serve(vm, "--publish", f"rtsp://user:a-secret@127.0.0.1:{port}/vm")
    for _ in range(2):
        receiver = _Receiver(rig, None, command=[sys.executable, Path(__file__).with_name("rtsp_server.py"), str(port)])
        receiver.shows(vm)
        receiver.stop()


def srt(rig):
    """a server of SRT (GStreamer's) is sent the picture, and gets it again after it was killed"""
    rig.needs_program()
    vm, port = rig.vm(), free_port()
    rig.serve(vm, "--publish", f"srt://127.0.0.1:{port}?passphrase=a-long-secret")
    source = f"srtsrc uri=srt://127.0.0.1:{port}?mode=listener&passphrase=a-long-secret ! tsdemux"
    for _ in range(2):
        receiver = _Receiver(rig, source)
        receiver.shows(vm, limit=3 * AGAIN)
        receiver.stop()
def whip(rig):
    """a server of WHIP (aiortc) is sent the picture by WebRTC beside a viewer, and gets it again after it was killed"""
    rig.needs_program()
    vm, bus, port = rig.vm(), rig.bus(), free_port()
    url = f"whip+http://a-secret@127.0.0.1:{port}/whip/vm"
    server = rig.serve(vm, "--publish", url, "--relay-bus", bus.address, "--metrics-addr", "127.0.0.1:0")
    client = rig.client(server)
    for _ in range(2):
        command = [sys.executable, Path(__file__).with_name("whip_server.py"), str(port), "a-secret"]
        receiver = _Receiver(rig, None, command=command)
        receiver.shows(vm, limit=AGAIN * 3)
        row = next(row for row in rig.status(bus)["Viewers"] if row["transport"] == "publish")
        assert row["peer"] == f"whip+http://127.0.0.1:{port}" and row["delivery"] == "Encode(h264)", row
        before, frames = samples(server), receiver.frames
        vm.stage("scroll 100000 20 3")  # all of it: a part of it would be the viewer's own video
        eventually(lambda: receiver.frames >= frames + 20, "twenty frames", limit=AGAIN * 2)
        after = samples(server)
        encoded, sent = (after[f"qemu_spice_{name}_total"] - before[f"qemu_spice_{name}_total"]
                         for name in ("encoded_frames", "pictures_sent"))
        assert encoded <= sent * 0.75 + 3, f"{encoded} frames encoded, and {sent} given to two"
        vm.stage("stop")
        vm.stage("picture")
        receiver.shows(vm, limit=AGAIN * 2)
        rig.same_picture(vm, client)
        receiver.stop()
    assert "a-secret" not in server.errors()


def rtmp(rig):
    """a server of RTMP (nginx) passes the picture on, and gets it again after it was started anew"""
    rig.needs_program()
    vm, port = rig.vm(), free_port()
    rig.serve(vm, "--publish", f"rtmp://127.0.0.1:{port}/live/vm")
    for _ in range(2):
        nginx = _nginx(rig, port)
        receiver = _Receiver(rig, f"rtmp2src location=rtmp://127.0.0.1:{port}/live/vm ! flvdemux", tries=10)
        receiver.shows(vm)
        receiver.stop()
        nginx.stop()


def janus(rig):
    """Janus shows the picture to fifty viewers by WebRTC, for which nothing more is encoded, also after it was started anew"""
    rig.needs_program()
    if not shutil.which("janus"):
        raise Skip("no janus here")
    vm, port, http = rig.vm(), free_port(), free_port()
    server = rig.serve(vm, "--publish", f"rtp://127.0.0.1:{port}", "--metrics-addr", "127.0.0.1:0")
    folder = rig.fresh("janus", "")
    folder.mkdir()
    for name, text in JANUS.items():
        (folder / name).write_text(text.replace("PORT1", str(port + 1)).replace("PORT", str(port)).replace("HTTP", str(http)))
    vm.stage("animate 100000 5")
    for _ in range(2):
        process = rig.background(["janus", "-F", str(folder)])
        eventually(lambda: _listens(http), "Janus", limit=20)
        before = samples(server)
        asked = [sys.executable, str(Path(__file__).with_name("janus_viewers.py")), f"http://127.0.0.1:{http}/janus", "1",
                 str(SUBSCRIBERS), str(FRAMES)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=140)
        assert done.returncode == 0, done.stderr
        frames = json.loads(done.stdout)
        assert len(frames) == SUBSCRIBERS and min(frames) >= FRAMES, f"frames of each viewer: {frames}"
        after = samples(server)
        encoded, keys, sent = (after[f"qemu_spice_{name}_total"] - before[f"qemu_spice_{name}_total"]
                               for name in ("encoded_frames", "encoded_key_frames", "pictures_sent"))
        assert encoded <= sent + 2, f"{encoded} frames encoded, and {sent} given to Janus"
        assert keys <= encoded / 2, f"{keys} of {encoded} frames are key frames: each viewer that came made one"
        rig.tell(f"{SUBSCRIBERS} viewers got {min(frames)} to {max(frames)} frames each of {encoded:.0f} encoded")
        process.stop()


def file(rig):
    """a file has all that was shown, another size goes on in it, and what was there is left alone"""
    rig.needs_program()
    vm = rig.vm()
    wanted = rig.fresh("recorded", ".mkv")
    wanted.write_text("was there before")
    server = rig.serve(vm, "--publish", f"file:{wanted}")
    client = rig.client(server)
    rig.same_picture(vm, client)
    vm.stage("animate 30 20")
    client("sleep 2000")
    vm.stage("mode 800 600")
    client("wait-size 800 600")
    rig.same_picture(vm, client)
    server.stop()
    assert wanted.read_text() == "was there before"
    frames = [picture for _, picture, _ in _decode(wanted.with_name(f"{wanted.stem}-2.mkv"))]
    for size, least in ((SIZE, 20), ((800, 600), 1)):
        count = sum(frame.shape == (size[1], size[0], 3) for frame in frames)
        assert count >= least, f"{count} frames of {size}"
    last = rig.fresh("last", ".png")
    Image.fromarray(frames[-1]).save(last)
    rig.same_file(vm, last)


def refused(rig):
    """a target that cannot be read ends the program before it does anything, in one line"""
    rig.needs_program()
    for target in ("http://127.0.0.1/", "rtp://127.0.0.1", "file:", "whip+ftp://127.0.0.1/"):
        done = subprocess.run([rig.settings.program, "--publish", target], capture_output=True, text=True, timeout=20)
        assert done.returncode != 0 and "rtp://HOST:PORT" in done.stderr, done


def _nginx(rig, port):
    """nginx as a server of RTMP."""
    folder = rig.fresh("nginx", "")
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\nevents {}\nworker_processes 1;\nmaster_process off;\n"
        f"rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; wait_key on; }} }} }}\n")
    command = ["nginx", "-p", folder, "-c", config, "-e", "stderr", "-g", f"user root; daemon off; pid {folder}/pid;"]
    return rig.background([str(word) for word in command])


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _Receiver:
    """Decodes what a source gives."""

    def __init__(self, rig, source, size=SIZE, tries=1, command=None):
        self.rig, self.size, self.frames, self.last, self.is_over = rig, size, 0, None, False
        self.command = command or ["gst-launch-1.0", "-q", *f"{source} ! {DECODE}".split()]
        self.process = None
        self.thread = threading.Thread(target=self._receive, args=(tries,), daemon=True)
        self.thread.start()
        eventually(lambda: self.process, "the receiver")

    def _receive(self, tries):
        length = self.size[0] * self.size[1] * 3
        for _ in range(tries):
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self.rig.own.append(Process(self.process))
            while len(frame := self.process.stdout.read(length)) == length:
                self.frames, self.last = self.frames + 1, frame
            if self.frames:
                break
            time.sleep(1)  # there is nothing to receive yet
        self.is_over = True

    def shows(self, vm, limit=AGAIN):
        """Its last frame is what the guest shows."""
        def same():
            if not self.last:
                return False
            path = self.rig.fresh("received", ".png")
            Image.frombytes("RGB", self.size, self.last).save(path)
            try:
                return self.rig.same_file(vm, path)
            except AssertionError:
                return False
        eventually(same, f"the guest's picture, after {self.frames} frames", limit=limit)

    def stop(self):
        self.process.kill()
        self.thread.join(20)
