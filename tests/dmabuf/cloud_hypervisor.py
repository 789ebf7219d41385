#!/usr/bin/python3
"""Cloud Hypervisor with qemu-spice as its graphics card, keyboard and pointer.

`cloud_hypervisor.py --vmm PATH --program PATH --guest FOLDER --reference PNG --artifacts FOLDER`, where there is a /dev/kvm: inside
scripts/dmabuf-vm, for example. Debian has no Cloud Hypervisor, so no other test runs this one. REFERENCE is what the guest draws, as
QEMU shows it. Prints a line for each thing that was seen.
"""

import argparse
import math
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import inputs  # noqa: E402
from rig import Client, Server, compare, free_port  # noqa: E402
from vm import Vm, connect  # noqa: E402

LIMIT = 400  # seconds for an emulated KVM to boot the guest


class CloudVm(Vm):
    """A machine of Cloud Hypervisor, for what Vm does by the guest's serial port."""

    def __init__(self, vmm, guest, folder, card, keys):
        self.stage_text = b""
        serial = folder / "serial.sock"
        self.log = open(folder / "vmm.log", "w")
        command = [vmm, "--kernel", f"{guest}/vmlinux", "--initramfs", f"{guest}/initrd", "--cmdline", "console=ttyS0 no_timer_check stage=picture",
                   "--cpus", "boot=1", "--memory", "size=512M,shared=on", "--console", "off", "--serial", f"socket={serial}",
                   "--generic-vhost-user", f"socket={card},device_type=16,queue_sizes=[256,16]", f"socket={keys},device_type=18,queue_sizes=[64,64]"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.serial = connect(serial, LIMIT, self.alive)
        self.until(rb"stage: ready", LIMIT)

    def stage(self, command, limit=LIMIT):
        return super().stage(command, limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("vmm", "program", "guest", "reference", "artifacts"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    settings = parser.parse_args()
    folder = Path("/run/cloud-hypervisor")  # unix sockets have short names
    folder.mkdir(parents=True, exist_ok=True)
    card, keys = folder / "card.sock", folder / "keys.sock"
    server = Server(settings.program, ["--vhost-user-gpu", card, "--vhost-user-input", keys, "--spice-addr", f"127.0.0.1:{free_port()}"],
                    settings.artifacts / "qemu-spice.log")
    server.ready()
    vm = CloudVm(settings.vmm, settings.guest, folder, card, keys)
    client = Client(server.uri, ["--images-only", "--limit", "120"], settings.artifacts / "client.log")
    try:
        vm.stage("mode 1280 720")
        client("wait-size 1280 720")
        client("wait-rest 1000")
        shown = settings.artifacts / "shown.png"
        client(f"picture {shown}")
        likeness = compare.psnr(compare.load(settings.reference), compare.load(shown))
        assert likeness == math.inf, compare.words(likeness)
        print(f"picture: {compare.words(likeness)}", flush=True)
        began = time.monotonic()
        vm.stage("flips 100")
        print(f"200 flips in {time.monotonic() - began:.0f} s", flush=True)
        vm.stage("events on")
        client("key 1e")
        client("position 640 360")
        events = vm.events(lambda events: any(kind == inputs.ABSOLUTE for _, kind, _, _ in events), LIMIT)
        assert [event[1:] for event in events[:2]] == [(inputs.KEY, 30, 1), (inputs.KEY, 30, 0)], events
        print("a key and a place of the pointer arrived", flush=True)
    finally:
        client.stop()
        vm.stop()
        server.stop()


if __name__ == "__main__":
    main()
