"""The films of a real guest on the canvas of a page in a browser: ours, spice-html5 and noVNC; and in spice-gtk."""

import functools
import http.server
import threading
import time

from measure import FILMS, HERE, PYTHON, WATCHING, Talk, distinct, middle, ninth, place, shown_after

import rig
from browser import Browser
from guest import FILM_LIMIT

RATES = (10, 30)  # updates a second
SECONDS = 2.0
PICTURE_LIMIT = 30  # seconds for a page to show the guest
# Who shows the films, and whose machine it is; see guest.py.
VIEWERS = {
    "our page": "qemu-spice",
    "spice-gtk": "qemu-spice",
    "spice-html5": "qemu-spice",
    "spice-html5, QEMU -spice": "QEMU -spice",
    "noVNC, QEMU -vnc": "QEMU -vnc",
}
SPICE_HTML5 = "/usr/share/spice-html5"
NOVNC = b"""<!doctype html><meta charset="utf-8"><title>noVNC</title><body style="margin: 0"><div id="screen"></div>
<script type="module">
import RFB from "./core/rfb.js";
new RFB(document.querySelector("#screen"), `ws://127.0.0.1:${location.hash.slice(1)}`);
</script>
"""


class Pages:
    """One Chromium for all pages, and what serves those that have no server of their own."""

    def __init__(self, bench, guests):
        self.bench = bench
        self.guests = guests
        self.html5 = _serve(SPICE_HTML5)
        self.novnc = bench.settings.novnc and _serve(bench.settings.novnc)
        self.browser = Browser(bench.log("chromedriver").open("w"), traced=False)
        bench.running += [server for server in (self.html5, self.novnc) if server] + [self.browser]
        self.browser.command("Page.addScriptToEvaluateOnNewDocument", source=(HERE / "canvas.js").read_text())
        self.browser.command("Performance.enable")

    def viewers(self):
        return [name for name in VIEWERS if self.novnc or "noVNC" not in name]

    def measure(self, name, results):
        machine = VIEWERS[name]
        vm = self.guests.vms[machine][0]
        vm.qmp("cont")
        try:
            with self.bench.things():
                self._measure(name, machine, results)
        finally:
            self.browser.open("about:blank")
            vm.qmp("stop")

    def _measure(self, name, machine, results):
        vm, clock, address, uri = self.guests.vms[machine]
        ours = machine == "qemu-spice" and self._program(address)
        viewer = self._open(name, ours or uri)
        for film in FILMS:
            vm.stage(f"film {film}", limit=FILM_LIMIT)
            for one in (viewer, clock):
                one(place(film))
            # libspice-server makes a stream of what has changed 20 times.
            vm.stage("play 30 40")
            time.sleep(30 * 0.04 + 0.5)
            for rate in RATES:
                for one in (viewer, clock):
                    one("mark")
                vm.stage(f"play {round(SECONDS * rate)} {1000 // rate}")
                time.sleep(SECONDS + 0.5)
                updates, seen = clock("seen")["seen"], viewer("seen")
                times = shown_after(updates, seen["seen"])
                seconds = (updates[-1][1] - updates[0][1]) / 1e9
                results.add("pages", name, f"{film} {rate}", pixel_ms=middle(times), pixel_90_ms=ninth(times),
                            guest_fps=len(updates) / seconds, shown_fps=distinct(updates, seen["seen"]) / seconds,
                            look_ms=seen.get("look_ms"), clock_ms=seen.get("clock_ms"))

    def _program(self, address):
        """Starts qemu-spice; returns its addresses: for SPICE clients, and for browsers."""
        port = rig.free_port()
        program = self.bench.start(Talk, "qemu-spice", [
            self.bench.settings.program, "--dbus-address", address, "--spice-addr", "127.0.0.1:0",
            "--web-addr", f"127.0.0.1:{port}", "--web-origin", self.html5.origin])
        return program.line(), f"http://127.0.0.1:{port}/"

    def _open(self, name, address):
        if name == "spice-gtk":
            watch = self.bench.start(Talk, "watch", [PYTHON, HERE / "watch.py", address[0]], env=WATCHING)
            watch.line()
            return watch
        if name == "our page":
            url = address[1]
        elif name == "noVNC, QEMU -vnc":
            url = f"{self.novnc.origin}/#{self.guests.web_socket}"
        else:
            spice = address if isinstance(address, str) else address[0]
            url = f"{self.html5.origin}/spice_auto.html?host=127.0.0.1&port={spice.rpartition(':')[2]}"
        self.browser.open(url)
        page = Page(self.browser)
        rig.eventually(lambda: self.browser.script("return film.looks") > 0, f"a picture on {url}", PICTURE_LIMIT)
        return page


class Page:
    """A page with canvas.js, spoken to as watch.py is."""

    def __init__(self, browser):
        self.browser = browser
        self.clock_ns, self.doubt_ns = _clock(browser)

    def __call__(self, line):
        return getattr(self, f"_{line.split()[0]}")(*line.split()[1:])

    def _place(self, x, y):
        self.browser.script(f"film.place = [{x}, {y}]")

    def _mark(self):
        self.browser.script("film.seen = []; film.took = film.looks = 0")

    def _seen(self):
        seen, took, looks = self.browser.script("return [film.seen, film.took, film.looks]")
        return {"seen": [(number, self.clock_ns + round(ms * 1e6)) for number, ms in seen],
                "look_ms": took / max(1, looks), "clock_ms": self.doubt_ns / 1e6}


def _clock(browser):
    """CLOCK_MONOTONIC when the page's `performance.now()` was 0, and by how much that may be wrong at most, in ns.

    Chromium counts by that clock and says when the page began, which is held against this process's own clock."""
    metrics = {metric["name"]: metric["value"] for metric in browser.command("Performance.getMetrics")["metrics"]}
    began = round(metrics["NavigationStart"] * 1e9)
    early, late = [], []
    for _ in range(30):
        before = time.monotonic_ns()
        now = began + round(browser.script("return performance.now()") * 1e6)
        early.append(now - before)
        late.append(time.monotonic_ns() - now)
    if min(early) < -200_000 or min(late) < -200_000:
        raise RuntimeError(f"Chromium's clock is another: {min(early)} and {min(late)} ns")
    return began, max(min(early), min(late))


def _serve(folder):
    handler = functools.partial(_Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.stop = server.shutdown
    server.origin = f"http://127.0.0.1:{server.server_address[1]}"
    return server


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, and noVNC's page in its corner."""

    def do_GET(self):
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(NOVNC)))
        self.end_headers()
        self.wfile.write(NOVNC)

    def log_message(self, *_):
        pass
