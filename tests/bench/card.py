"""The same guest with two ways to qemu-spice: QEMU's D-Bus display, and the graphics card itself over vhost-user."""

import time

from measure import (FILMS, HERE, PYTHON, WATCHING, Talk, arrivals_after, distinct, middle, ninth, place, process_cpu_ns,
                     shown_after, thread_cpu_ns)

from guest import FILM_LIMIT, MACHINE, PERIOD, SECONDS
from vm import Vm

SHARED = ("-object", "memory-backend-memfd,id=mem,size=1024M,share=on", "-machine", "memory-backend=mem")
ASKED = 30  # times that the guest is asked for its clock


class Cards:
    """Two machines, one for each way, each with its qemu-spice. One runs at a time."""

    def __init__(self, bench):
        self.bench = bench
        self.ways = {}
        for name in ("D-Bus", "vhost-user"):
            folder = bench.folder / f"card-{name}"
            folder.mkdir(parents=True, exist_ok=True)
            vm_options = {"qemu": "qemu-system-x86_64", "machine": MACHINE}
            if name == "D-Bus":
                vm = Vm(folder, bench.settings.guest, extra=SHARED, **vm_options)
                program = self._program(name, "--qmp", vm.qmp_path)
                uri = program.line()
            else:
                socket = folder / "gpu.sock"
                program = self._program(name, "--vhost-user-gpu", socket)
                uri = program.line()
                vm = Vm(folder, bench.settings.guest, gpu="vhost-user-gpu-pci,chardev=gpu", display="none",
                        extra=[*SHARED, "-chardev", f"socket,id=gpu,path={socket}"], **vm_options)
            bench.running.append(vm)
            for film in FILMS:
                vm.stage(f"film {film}", limit=FILM_LIMIT)
            vm.qmp("stop")
            self.ways[name] = vm, program, uri

    def _program(self, name, *options):
        command = [self.bench.settings.program, *options, "--spice-addr", "127.0.0.1:0"]
        program = Talk(command, self.bench.folder / f"card-{name}.log")
        self.bench.running.append(program)
        return program

    def measure(self, name, results):
        vm, program, uri = self.ways[name]
        vm.qmp("cont")
        try:
            with self.bench.things():
                counting = self.bench.start(Talk, "viewers", [PYTHON, HERE / "viewers.py", uri, 1])
                counting.line()
                for film in FILMS:
                    self._counted(name, results, film, vm, program, counting)
            with self.bench.things():
                watch = self.bench.start(Talk, "watch", [PYTHON, HERE / "watch.py", uri], env=WATCHING)
                watch.line()
                for film in FILMS:
                    vm.stage(f"film {film}", limit=FILM_LIMIT)
                    watch(place(film))
                    drawn = self._play(vm, lambda: watch("mark"))
                    seen = watch("seen")["seen"]
                    times = shown_after(drawn, seen)
                    results.add("card", name, film, pixel_ms=middle(times), pixel_90_ms=ninth(times),
                                shown_fps=distinct(drawn, seen) / ((drawn[-1][1] - drawn[0][1]) / 1e9))
        finally:
            vm.qmp("stop")

    def _counted(self, name, results, film, vm, program, counting):
        vm.stage(f"film {film}", limit=FILM_LIMIT)
        processor = f"{vm.process.pid}/task/{vm.processor_thread()}"
        before = []

        def used():
            return process_cpu_ns(vm.process.pid), thread_cpu_ns(processor), process_cpu_ns(program.pid)

        def begin():
            counting("mark")
            before[:] = used()
        drawn = self._play(vm, begin)
        qemu, guest, ours = ((now - then) / 1e6 / len(drawn) for now, then in zip(used(), before))
        told = counting("report")
        results.add("card", name, film, socket_ms=middle(arrivals_after(drawn, told["arrivals"])), cpu_ms=qemu + ours,
                    host_ms=qemu - guest + ours, ours_ms=ours, guest_fps=len(drawn) / ((drawn[-1][1] - drawn[0][1]) / 1e9))

    def _play(self, vm, begin):
        """Plays the film that the guest has, first what makes a server know it. Returns each frame's number and when the
        guest had drawn it, by this machine's clock."""
        vm.stage(f"play 30 {PERIOD}")
        time.sleep(30 * PERIOD / 1000 + 0.5)
        begin()
        vm.stage(f"play {round(SECONDS * 1000 / PERIOD)} {PERIOD}")
        time.sleep(SECONDS + 0.5)
        offset = _clock_offset(vm)
        lines = (line.split() for line in vm.stage("drawn"))
        return [(int(number), int(ns) + offset, int(ns) + offset) for word, number, ns in lines if word == "drawn"]


def _clock_offset(vm):
    """What to add to the guest's clock to get this machine's: by the question that was answered soonest."""
    best = None
    for _ in range(ASKED):
        asked = time.monotonic_ns()
        guest = int(next(line for line in vm.stage("clock") if line.startswith("clock")).split()[1])
        took = time.monotonic_ns() - asked
        if best is None or took < best[0]:
            best = took, asked + took // 2 - guest
    return best[1]
