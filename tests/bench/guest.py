"""The same films in a real guest: qemu-spice on QEMU's D-Bus display, QEMU's own SPICE server, QEMU's own VNC server."""

import time

from measure import (FILMS, HERE, MOVING, PART_FILMS, PYTHON, WATCHING, Talk, distinct, middle, ninth, place,
                     process_cpu_ns, shown_after, truth)

import rig
from vm import Vm

MACHINE = ("-accel", "tcg", "-cpu", "max", "-m", "1024")  # the films take 300 MiB
ALL_FILMS = FILMS + PART_FILMS
SECONDS = 2.0
PERIOD = 40  # ms: what the emulated guest keeps up with
FILM_LIMIT = 90  # seconds for the guest to draw a film


class Guests:
    """Three machines, one for each server, of which one runs at a time."""

    def __init__(self, bench):
        self.bench = bench
        self.vms = {}
        self.web_socket = rig.free_port()  # of QEMU's VNC server
        for name, extra in {"qemu-spice": lambda port: [], "QEMU -spice": rig.peer_arguments,
                            "QEMU -vnc": lambda port: ["-vnc", f"127.0.0.1:{port - 5900},websocket={self.web_socket}"]}.items():
            port = rig.free_port()
            while port < 5900:
                port = rig.free_port()
            bus = rig.Bus(bench.folder)
            bench.running.append(bus)
            vm = Vm(bench.folder / f"vm-{name.split()[-1].strip('-')}", bench.settings.guest, qemu=bench.settings.qemu, display=f"dbus,addr={bus.address}",
                    extra=extra(port), machine=MACHINE)
            bench.running.append(vm)
            for film in ALL_FILMS:
                vm.stage(f"film {film}", limit=FILM_LIMIT)
            clock = bench.start(Talk, "clock", [PYTHON, HERE / "clock.py", bus.address])
            clock.line()
            vm.qmp("stop")
            kind = "vnc" if name.endswith("vnc") else "spice"
            self.vms[name] = vm, clock, bus.address, f"{kind}://127.0.0.1:{port}"
        self._write_truths()

    def _write_truths(self):
        """The guest's own font is another: its frames are read from its screen."""
        vm = self.vms["qemu-spice"][0]
        vm.qmp("cont")
        shot = self.bench.folder / "truth.ppm"
        for film in ALL_FILMS:
            path = self.truth(film)
            if path.exists():
                continue
            vm.stage(f"film {film}", limit=FILM_LIMIT)
            with open(path, "wb") as out:
                for number in range(16):
                    vm.stage(f"show {number}")
                    # QEMU's screendump shows what its display has been told, which the guest's answer may run ahead of.
                    time.sleep(0.1)
                    vm.qmp("screendump", filename=str(shot))
                    frame = _bgrx(shot.read_bytes())
                    if number == 0:
                        out.write(frame.tobytes())
                    x, y, width, height = MOVING[film]
                    out.write(frame[y:y + height, x:x + width].tobytes())
        vm.qmp("stop")

    def truth(self, film):
        return self.bench.folder / f"guest-frames-{film}"

    def measure(self, name, results):
        vm = self.vms[name][0]
        vm.qmp("cont")
        try:
            self._measure(name, results)
        finally:
            vm.qmp("stop")

    def _measure(self, name, results):
        vm, clock, address, uri = self.vms[name]
        processes = [vm.process.pid]
        with self.bench.things():
            if name == "qemu-spice":
                program = self.bench.start(Talk, "qemu-spice", [self.bench.settings.program, "--dbus-address", address, "--spice-addr", "127.0.0.1:0"])
                uri = program.line()
                processes.append(program.pid)
            watch = self.bench.start(Talk, "watch", [PYTHON, HERE / "watch.py", uri], env=WATCHING)
            watch.line()
            for film in ALL_FILMS:
                vm.stage(f"film {film}", limit=FILM_LIMIT)
                for viewer in (watch, clock):
                    viewer(place(film))
                watch(truth(self.truth(film), film))
                # libspice-server makes a stream of what has changed 20 times.
                vm.stage(f"play 30 {PERIOD}")
                time.sleep(30 * PERIOD / 1000 + 0.5)
                clock("mark")
                watch("mark")
                count = round(SECONDS * 1000 / PERIOD)
                cpu = [process_cpu_ns(pid) for pid in processes]
                vm.stage(f"play {count} {PERIOD}")
                time.sleep(SECONDS)
                cpu = [process_cpu_ns(pid) - before for pid, before in zip(processes, cpu)]
                rest = watch(f"exact {30 + count} 2500")
                updates = clock("seen")["seen"]
                told = watch("seen")
                times = shown_after(updates, told["seen"])
                seconds = (updates[-1][1] - updates[0][1]) / 1e9
                shown = distinct(updates, told["seen"])
                values = {"pixel_ms": middle(times), "pixel_90_ms": ninth(times), "guest_fps": len(updates) / seconds, "shown_fps": shown / seconds,
                          "cpu_ms_s": sum(cpu) / 1e6 / SECONDS, "kib": told["bytes"] / 1024 / max(1, shown)} | watch("quality")
                values |= {"exact_ms": (rest["ns"] - updates[-1][1]) / 1e6 if "ns" in rest else None, "rest_psnr": rest.get("psnr", 99.0)}
                results.add("guest", name, film, **values)


def _bgrx(ppm):
    import numpy
    pixels = numpy.frombuffer(ppm[-1280 * 720 * 3:], numpy.uint8).reshape(720, 1280, 3)
    out = numpy.zeros((720, 1280, 4), numpy.uint8)
    out[..., 2::-1] = pixels
    return out
