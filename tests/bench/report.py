"""Writes docs/performance.md and its plots from the values of a run."""

import json
import os
import re
import statistics
import subprocess
from pathlib import Path

import plot
from measure import FILMS, PART_FILMS
from plot import number

OURS, LIBSPICE = "qemu-spice", "libspice-server"
FULL_COLOUR = "qemu-spice 4:4:4"
SPICE, VNC = "QEMU -spice", "QEMU -vnc"
PAGE, GTK, NOVNC, HTML5 = "our page", "spice-gtk", "noVNC, QEMU -vnc", "spice-html5, QEMU -spice"
LARGE, HUGE = "clip in 3840x2160", "clip in 7680x4320"


class Report:
    """`values[part][who][case][name]` are the results of all rounds, in their order."""

    def __init__(self, values, versions, micro, command, docs):
        self.values = values
        self.versions = versions
        self.micro = micro
        self.command = command
        self.docs = docs

    # -- looking values up --

    def rounds(self, part, who, case, name):
        return self.values.get(part, {}).get(who, {}).get(case, {}).get(name, [])

    def get(self, part, who, case, name):
        """Median, lowest and highest; None if it was not measured."""
        values = [value for value in self.rounds(part, who, case, name) if value is not None]
        return {"median": statistics.median(values), "low": min(values), "high": max(values)} if values else None

    def combined(self, one, two, how):
        """Two values of the same round brought together, round by round."""
        pairs = [how(a, b) for a, b in zip(self.rounds(*one), self.rounds(*two)) if a is not None and b]
        return {"median": statistics.median(pairs), "low": min(pairs), "high": max(pairs)} if pairs else None

    def ratio(self, one, two):
        return self.combined(one, two, lambda a, b: a / b)

    # -- words --

    def cell(self, part, who, case, name, scale=1.0):
        return spread(self.get(part, who, case, name), scale)

    def table(self, header, rows):
        lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])

    # -- the page --

    def write(self):
        self.plots()
        text = "\n\n".join(part.strip() for part in (
            self.head(), self.budget(), self.path(), self.areas(), self.viewers(), self.near(), self.allocations(), self.guest(), self.pages(), self.card(), self.parts(), self.method()) if part)
        (self.docs / "performance.md").write_text(text + "\n")
        return text

    def head(self):
        counts = {len(rounds) for everyone in self.values.values() for cases in everyone.values() for named in cases.values()
                  for rounds in named.values()}
        rounds = " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "no"
        each = "is of one round" if counts == {1} else \
            f"is the median of {rounds} rounds with the lowest and the highest round in brackets"
        return f"""# Performance

This page and its plots are written by

```sh
{self.command}
```

on a machine with {os.cpu_count()} CPUs and without a GPU, on which everything runs: the guest or what plays its part, the server and the
viewers. Each number {each}; in each round the servers take turns,
in another order. A ratio is made of the two values of a round. Times of a round are themselves medians over all updates.

{self.table(["program", "version"], [[name, version] for name, version in self.versions.items()])}"""

    def budget(self):
        wait = self.combined(("path", OURS, "motion 30", "release_ms"), ("release", "empty listener", "dmabuf", "release_ms"), lambda a, b: a - b)
        peer_wait = self.get("path", LIBSPICE, "motion 30", "release_ms")
        socket = self.ratio(("path", OURS, "motion 30", "socket_ms"), ("path", LIBSPICE, "motion 30", "socket_ms"))
        pixels = [self.get("path", OURS, f"motion {fps}", "pixel_ms") for fps in (10, 30)]
        peer_pixels = [self.get("path", LIBSPICE, f"motion {fps}", "pixel_ms") for fps in (10, 30)]
        flat = self.ratio(("path", OURS, "motion flat out", "fps"), ("path", LIBSPICE, "motion flat out", "fps"))
        late = self.combined(("path", OURS, "motion flat out", "pixel_ms"), ("path", OURS, "motion flat out", "shown_fps"), lambda ms, fps: ms * fps / 1000)
        many = self.combined(("viewers", OURS, "16", "cpu_ms"), ("viewers", OURS, "1", "cpu_ms"), lambda a, b: a / b)
        peer_many = self.combined(("viewers", LIBSPICE, "4", "cpu_ms"), ("viewers", LIBSPICE, "1", "cpu_ms"), lambda a, b: a / b)
        handed, handed_fast = (self.get("passthrough", OURS, case, "cpu_ms") for case in ("motion 60", "motion flat out"))
        peer_handed = self.get("passthrough", LIBSPICE, "motion 60", "cpu_ms")
        cases = self.values.get("pages", {}).get(PAGE, {})
        page = highest(self.get("pages", PAGE, case, "pixel_ms") for case in cases)
        beside = highest(self.ratio(("pages", PAGE, case, "pixel_ms"), ("pages", NOVNC, case, "pixel_ms")) for case in cases)
        idle = {name: self.get("idle", OURS, "4 viewers", name) for name in ("wakeups_s", "bytes_s", "resident_mib", "bare_mib")}
        rows = [
            ["guest lets go of a frame, over an empty listener", "within 1 ms", f"{spread(wait)} ms (libspice-server: {spread(peer_wait)} ms in all)",
             met(wait, lambda v: v <= 1)],
            ["update to bytes at the client's socket, 30 frames a second", "under half of libspice-server's", f"{spread(socket)} of it", met(socket, lambda v: v < 0.5)],
            ["update to decoded pixel in spice-gtk, 10 and 30 frames a second", "under 25 ms",
             f"{spread(pixels[0])} and {spread(pixels[1])} ms (libspice-server: {spread(peer_pixels[0])} and {spread(peer_pixels[1])} ms)",
             met(highest(pixels), lambda v: v < 25)],
            ["update to the canvas of our page, 10 and 30 updates a second, every film", "under 25 ms", f"at most {spread(page)} ms",
             met(page, lambda v: v < 25)],
            ["… beside noVNC on QEMU's `-vnc`, every film", "under noVNC's", f"at most {spread(beside)} of it", met(beside, lambda v: v < 1)],
            ["flat out", "over twice libspice-server's frames", f"{spread(flat)} times", met(flat, lambda v: v > 2)],
            ["flat out, update to decoded pixel", "under two frames", f"{spread(late)} frames", met(late, lambda v: v < 2)],
            ["CPU with 16 viewers against 1", "under 1.3 times", f"{spread(many)} times (libspice-server with 4: {spread(peer_many)} times)", met(many, lambda v: v < 1.3)],
            ["guest buffers passed through", "under 100 µs of CPU a frame", f"{spread(handed, 1000)} µs at 60 frames a second, {spread(handed_fast, 1000)} µs flat out (libspice-server: {spread(peer_handed, 1000)} µs at 60)",
             met(handed, lambda v: v < 0.1)],
            ["idle guest and viewers", "no wake-ups, no bytes", f"{spread(idle['wakeups_s'])} wake-ups and {spread(idle['bytes_s'])} bytes a second",
             met(idle["wakeups_s"], lambda v: v < 1 and idle["bytes_s"]["median"] == 0)],
            ["resident memory, idle", "under 30 MiB", f"{spread(idle['resident_mib'])} MiB after video for 4 viewers, {spread(idle['bare_mib'])} MiB before the first viewer",
             met(idle["resident_mib"], lambda v: v < 30)],
        ]
        alone = next((time / 1e6 for name, time in self.micro if name.startswith("encoder/floor")), None)
        floor = f" The encoder alone takes {number(alone)} ms for such a frame when all of it moves." if alone else ""
        return f"""## The budget

All of 1280x720, encoded by x264 where it is encoded.{floor}

{self.table(["what", "target", "measured", ""], rows)}

{self.in_the_way(rows)}"""

    def in_the_way(self, rows):
        """What profiles say of the lines that are not met."""
        missed = {row[0] for row in rows if "not met" in row[3]}
        empty = spread(self.get("release", "empty listener", "dmabuf", "release_ms"))
        floor, fast = (spread(self.get("passthrough", who, case, "cpu_ms"), 1000) for who, case in (("empty listener", "motion 60"), (OURS, "motion flat out")))
        known = {
            "update to bytes at the client's socket, 30 frames a second":
                f"To the socket: an empty listener has QEMU's call and its answer done after {empty} ms; reading and converting a frame with cold caches takes "
                "about as long again, and x264 by itself what the encoder alone takes. The rest are the ways between the threads of a frame: QEMU's "
                "messages, picture, encoder, and back.",
            "flat out":
                "Flat out: x264 and the viewer's decoder want all of both CPUs, and the guest's drawing the rest.",
            "guest buffers passed through":
                f"Passed through: at 60 frames a second, a listener that does nothing but answer, by the D-Bus library that QEMU uses, takes {floor} µs "
                "on this machine. `strace -f -c` counts 10 system calls a frame here (two waits, three reads of QEMU's message, its answer, the message to "
                "the viewer and its answer, one look at the socket's queue, one for the answer's timer). Each time that the process wakes up, it finds "
                f"caches and translations cold: flat out, the same work takes {fast} µs.",
            "resident memory, idle":
                "Memory: `/proc/PID/smaps` has 11 MiB of libraries (GStreamer, GLib, x264) and 9 MiB of the program itself; most of the rest is the "
                "picture that is kept for the encoder, and the viewers' sockets and threads.",
            "flat out, update to decoded pixel":
                "Flat out, to the pixel: decoding wants the CPUs as much as encoding does. What waits does so in spice-gtk's decoder, of which a server hears nothing.",
        }
        return "\n".join(f"- {text}" for what, text in known.items() if what in missed)

    def path(self):
        names = [("release_ms", "guest waits, ms"), ("socket_ms", "to the socket, ms"), ("pixel_ms", "to the pixel, ms"), ("pixel_90_ms", "9 of 10 under, ms"),
                 ("fps", "frames a second"), ("cpu_ms", "CPU a frame, ms"), ("switches", "context switches a frame"), ("kib", "KiB a frame"), ("mbit", "Mbit/s"),
                 ("psnr", "PSNR, dB"), ("ssim", "SSIM")]
        rows = []
        for case in ["motion 30", "motion 10", "text 30", "page 30", "drag 30", "motion flat out"]:
            for who in (OURS, FULL_COLOUR, LIBSPICE):
                if self.values.get("path", {}).get(who, {}).get(case):
                    rows.append([case, who, *(self.cell("path", who, case, name) for name, _ in names)])
        if not rows:
            return ""
        rest = []
        for case in ("text 30", "motion 30"):
            ours = self.get("path", OURS, case, "exact_ms")
            never = all(value is None for value in self.rounds("path", LIBSPICE, case, "exact_ms"))
            rest.append(f"After *{case.split()[0]}*, qemu-spice's picture was exact to the last bit {spread(ours)} ms after the last change; libspice-server's "
                        + (f"was not within 2 s: what its viewer showed was {self.cell('path', LIBSPICE, case, 'rest_psnr')} dB like it." if never else "was so after "
                           + self.cell("path", LIBSPICE, case, "exact_ms") + " ms."))
        return f"""## The path of a frame

![Time from an update to the decoded pixel](performance-pixel.svg)

![Where the time goes](performance-socket.svg)

A small program plays films as QEMU would, from a buffer that it says to be a dmabuf: to qemu-spice over D-Bus, and to libspice-server through the
functions that QEMU calls with `-spice gl=on`. *Motion* is a pan over the whole screen, *page* a page of text with a film of 640x360 in it, *text* a
window of text that scrolls, *drag* a window that is dragged; what is copied comes in more messages than there are updates, which are
counted as frames a second here. Of the likeness, only the part that moves counts, against the guest's own pixels.

{self.table(["film and frames a second", "server", *(title for _, title in names)], rows)}

{" ".join(rest)}

The guest's wait with plain shared memory, where QEMU does not really wait: {self.cell("release", OURS, "shared", "release_ms")} ms
({self.cell("release", "empty listener", "shared", "release_ms")} ms with an empty listener, which answers at once; with a dmabuf
{self.cell("release", "empty listener", "dmabuf", "release_ms")} ms)."""

    def viewers(self):
        rows = []
        for count in ("1", "4", "16", "64"):
            for who in (OURS, LIBSPICE):
                if self.values.get("viewers", {}).get(who, {}).get(count):
                    rows.append([count, who, *(self.cell("viewers", who, count, name) for name in ("cpu_ms", "release_ms", "fps_slowest", "switches", "resident_mib"))])
        if not rows:
            return ""
        return f"""## One encode for many

![CPU for each frame of the guest, by viewers](performance-viewers.svg)

The film *motion* at 30 frames a second, and viewers that take everything they get. libspice-server has an encoder for each of them; it was not
measured with 64.

{self.table(["viewers", "server", "CPU a frame of the guest, ms", "guest waits, ms", "frames a second of the slowest viewer", "context switches a frame", "resident, MiB"], rows)}"""

    def near(self):
        rows = [[case, who, *(self.cell("passthrough", who, case, name, scale) for name, scale in (
            ("cpu_ms", 1000), ("release_ms", 1), ("socket_ms", 1), ("fps", 1), ("switches", 1)))]
            for case in ("motion 60", "motion flat out") for who in (OURS, LIBSPICE, "empty listener") if self.values.get("passthrough", {}).get(who)]
        idle = [[who, *(self.cell("idle", who, "4 viewers", name) for name in ("wakeups_s", "cpu_ms_s", "bytes_s", "bare_mib", "resident_mib", "private_mib"))]
                for who in (OURS, LIBSPICE) if self.values.get("idle", {}).get(who)]
        if not rows and not idle:
            return ""
        return f"""## Passed through, and idle

The guest's buffer given to one viewer over a unix socket; the viewer says at once that it has drawn. At 60 frames a second each
frame finds the processor asleep and its caches cold, which is most of what it costs. The empty listener passes nothing on: it answers QEMU, by
the D-Bus library that QEMU uses. libspice-server is in the player's process, where no D-Bus is needed.

{self.table(["film and frames a second", "server", "CPU a frame, µs", "guest waits, ms", "to the socket, ms", "frames a second", "context switches a frame"], rows)}

Four viewers of a picture that has been at rest for over twenty seconds. libspice-server's memory includes the films that are played, 63 MiB, as the player
is in its process. Its CPU is its own: the stream of a GL scanout has a timer that is due for ever once the guest has been still for a second.

{self.table(["server", "wake-ups a second", "CPU, ms a second", "bytes a second", "resident before viewers, MiB", "resident, MiB", "of it private, MiB"], idle)}

One viewer of the desktop guest at rest, with a debug build: 6.1 MiB of the program's own memory (`RssAnon`) before it comes, 15.5 to 17.5 MiB with
picture, keyboard, cursor and agent, and 15.9 to 18.2 MiB with sound both ways, a USB socket and a port as well, after a paste.
`scripts/test rest_costs_nothing` says so each time, and fails where the program wakes up within two seconds of rest with all of these open."""

    def allocations(self):
        cases = self.values.get("allocations", {}).get(OURS, {})
        if not cases:
            return ""
        rows = [[case, *(self.cell("allocations", OURS, case, name) for name in ("calls", "kib", "large"))] for case in cases]
        return f"""## Memory asked for

What qemu-spice, its libraries and x264 ask of malloc for an update of *motion* at 30 frames a second, counted by `tests/bench/allocations.c`.

{self.table(["who looks", "allocations an update", "KiB an update", "of them of 64 KiB or more"], rows)}"""

    def guest(self):
        if not self.values.get("guest"):
            return ""
        names = [("pixel_ms", "to the pixel, ms"), ("pixel_90_ms", "9 of 10 under, ms"),
                 ("guest_fps", "guest's frames a second"), ("shown_fps", "shown"), ("cpu_ms_s", "CPU with QEMU, ms a second"),
                 ("kib", "KiB a frame shown"), ("psnr", "PSNR, dB"), ("ssim", "SSIM"),
                 ("beside", "exact beside it, % of looks"), ("exact_ms", "exact at rest after, ms")]
        films = [*FILMS, *PART_FILMS]
        rows = [[film, who, *(self.cell("guest", who, film, name) for name, _ in names)]
                for film in films for who in (OURS, SPICE, VNC) if self.values["guest"].get(who, {}).get(film)]
        ratios = []
        for who in (SPICE, VNC):
            each = [f"{spread(self.ratio(('guest', who, film, 'pixel_ms'), ('guest', OURS, film, 'pixel_ms')))} ({film})"
                    for film in films]
            ratios.append(f"Until {who}'s viewer shows an update takes this many times as long as with qemu-spice: {', '.join(each)}.")
        return f"""## In a real guest

![Time from QEMU's update to the pixel, with a real guest](performance-guest.svg)

The same films, drawn by a guest in the same QEMU (emulated, without KVM), 25 frames a second, on three machines that run by turns: with `-display dbus`
and qemu-spice, with QEMU's own `-spice` (all of its video on, otherwise as it comes), and with `-vnc`. A listener on QEMU's D-Bus display notes when
each update happens. The viewer is spice-gtk's library, or a VNC viewer that takes Tight without loss. PSNR of 88 dB stands for equal pixels.

{self.table(["film", "server", *(title for _, title in names)], rows)}

{" ".join(ratios)}

Without OpenGL, QEMU's `-spice` hands changes over in columns of 32 pixels, and libspice-server makes a video of each: 41 of them for a film that fills
the screen. spice-gtk drops those of their MJPEG frames that come late."""

    def pages(self):
        if not self.values.get("pages"):
            return ""
        names = [("pixel_ms", "to the canvas, ms"), ("pixel_90_ms", "9 of 10 under, ms"), ("guest_fps", "guest's frames a second"),
                 ("shown_fps", "shown")]
        cases = [f"{film} {rate}" for film in FILMS for rate in (10, 30)]
        everyone = [PAGE, GTK, "spice-html5", HTML5, NOVNC]
        rows = [[case, who, *(self.cell("pages", who, case, name) for name, _ in names)] for case in cases for who in everyone
                if self.values["pages"].get(who, {}).get(case)]
        shares = []
        for who in (NOVNC, HTML5, GTK):
            each = [f"{spread(self.ratio(('pages', PAGE, case, 'pixel_ms'), ('pages', who, case, 'pixel_ms')))} ({case})"
                    for case in cases]
            shares.append(f"Our page takes this part of the time of {who}: {', '.join(each)}.")
        looks = [value for case in cases for value in self.rounds("pages", PAGE, case, "look_ms")]
        doubts = [value for case in cases for value in self.rounds("pages", PAGE, case, "clock_ms")]
        return f"""## In a browser

![Time from QEMU's update to the canvas](performance-pages.svg)

The same guest and machines, 10 and 30 updates a second, on pages of one Chromium without a window and without a GPU: our page;
spice-html5 on qemu-spice and on QEMU's own `-spice`; noVNC on QEMU's own `-vnc`; each as it comes. Beside them spice-gtk's
library, which is no page, on qemu-spice. Only one of them runs at a time.

{self.table(["film and updates a second", "viewer", *(title for _, title in names)], rows)}

{" ".join(shares)}

`tests/bench/canvas.js` comes before the scripts of each page. When a script has drawn on the canvas that is shown, it reads back
the film's patch, which tells the update's number and waits for what was drawn; a video that lies on the canvas is read with each
frame that it presents. One look takes {number(statistics.mean(looks))} ms on our page, and belongs to what is measured. Chromium
counts by this machine's clock, in steps of 0.1 ms: asked for it 30 times, the two cannot be further apart than
{number(max(doubts))} ms. What the browser does to bring a canvas to a screen is not part of it, and is the same for all pages.
Where an update comes in many parts, as from QEMU's own `-spice`, only the one with the patch counts."""

    def areas(self):
        if not self.values.get("areas"):
            return ""
        names = [("cpu_ms", "CPU, ms an update"), ("kib", "KiB an update"), ("fps", "updates a second"),
                 ("shown_fps", "shown"), ("psnr", "PSNR of what moves, dB"), ("ssim", "SSIM"), ("beside", "exact beside it, % of looks"),
                 ("equal", "exact, % of looks")]
        cases = ["clip", LARGE, HUGE, *PART_FILMS[1:]]
        rows = [[case, who, *(self.cell("areas", who, case, name) for name, _ in names)]
                for case in cases for who in (OURS, LIBSPICE) if self.values["areas"].get(who, {}).get(case)]
        sizes = []
        for case in (LARGE, HUGE):
            cpu, kib = (spread(self.ratio(("areas", OURS, case, name), ("areas", OURS, "clip", name)))
                        for name in ("cpu_ms", "kib"))
            sizes.append(f"The {case} takes {cpu} times the CPU and {kib} times the bytes of the same in 1280x720.")
        parts = []
        for name, words in (("kib", "the bytes"), ("cpu_ms", "the CPU")):
            each = [f"{spread(self.ratio(('areas', OURS, case, name), ('areas', LIBSPICE, case, name)))} ({case})"
                    for case in cases if self.values["areas"].get(LIBSPICE, {}).get(case)]
            parts.append(f"{words}: {', '.join(each)}")
        return f"""## Where a part moves

Films of which a part moves, 20 updates a second, in a screen of 1280x720 if no other is named, over TCP. *Clip* is a film of
400x200 in a screen full of text, *films* two of them, *typing* one while somebody types in another corner, *scroll* a window of
text that scrolls by three lines, *window* a window that is dragged over text. The guest says of each update one rectangle around
all that changed, as Linux's driver of virtio-gpu does. qemu-spice gets it as shared memory, libspice-server as GL scanouts, of
which it makes one video. A look compares every pixel, 20 ms after an update's number is there. Where all is equal PSNR is 88 dB. Each film follows the one
before in the same session and has played for 3.4 s when it is measured.

{self.table(["film", "server", *(title for _, title in names)], rows)}

{" ".join(sizes)} qemu-spice's part of libspice-server's: {"; of ".join(parts)}."""

    def card(self):
        if not self.values.get("card"):
            return ""
        names = [("socket_ms", "to the socket, ms"), ("pixel_ms", "to the pixel, ms"), ("pixel_90_ms", "9 of 10 under, ms"),
                 ("cpu_ms", "CPU, ms a frame"), ("host_ms", "of it not the emulated guest's"), ("ours_ms", "qemu-spice's"),
                 ("guest_fps", "guest's frames a second"), ("shown_fps", "shown")]
        ways = ("D-Bus", "vhost-user")
        rows = [[film, way, *(self.cell("card", way, film, name) for name, _ in names)] for film in FILMS for way in ways]
        ratios = []
        for name, words in (("socket_ms", "to the socket"), ("pixel_ms", "to the pixel"), ("cpu_ms", "of CPU"),
                            ("host_ms", "of CPU without the emulated guest's")):
            each = [f"{spread(self.ratio(('card', 'vhost-user', film, name), ('card', 'D-Bus', film, name)))} ({film})" for film in FILMS]
            ratios.append(f"{words} {', '.join(each)}")
        return f"""## The guest's own graphics card

The same films in two machines that run by turns and differ in this alone: QEMU's `-display dbus`, or qemu-spice as the guest's graphics card
(`--vhost-user-gpu`) and `-display none`. Times count from when the guest had drawn a frame, by its own clock; the guest draws 25 frames a second.

{self.table(["film", "way", *(title for _, title in names)], rows)}

Over vhost-user as a part of over D-Bus: {"; ".join(ratios)}.

Where the time goes is much the same: each pixel is read twice either way. A 2D resource is copied from the guest's memory when the guest says
TRANSFER, by QEMU's device or by ours, and its changed rows are read once more when the picture is encoded. Only a message and its reply a frame
between QEMU and qemu-spice fall away. A blob resource is read in place, without the first of the two."""

    def parts(self):
        if not self.micro:
            return ""
        rows = [[name.split("/")[0], name.split("/")[1], f"{number(time / 1000)}"] for name, time in self.micro]
        return "## Parts by themselves\n\n`cargo bench --bench parts`; a frame has 1280x720 pixels, 3.5 MiB.\n\n" + self.table(["part", "what", "µs"], rows)

    def method(self):
        return """## What these numbers are not

- Viewers, encoder and guest share the CPUs: another machine changes all numbers, and the ratios less.
- The dmabufs are shared memory that is said to be one, sealed so that it can be mapped as a dmabuf is. That is the same for the CPU that reads them;
  GPUs, hardware encoders and tiled buffers are not measured.
- spice-gtk's reports to the server are off. With them, libspice-server's rate control takes its own time stamps for lateness, and comes down to a few
  frames a second within two seconds. qemu-spice does not go by these reports.
- "To the pixel" ends when spice-gtk has the decoded pixels; drawing them into a window is not part of it.
- SSIM is the mean over blocks of 8x8 of the grey picture. PSNR is over all three colours. The pan has colours as fine as its pixels, the worst case of
  4:2:0, which halves their resolution: without any loss by an encoder, but through spice-gtk's converter, a frame of it has 26.6 dB.
  libspice-server's H.264 is 4:4:4 (profile 244), because its GStreamer takes what loses least: it has better colours while something moves, more than
  twice the bits, and a stream that software decoders alone show. qemu-spice's is 4:2:0, and exact at rest; it is 4:4:4 with
  `--video-codec h264-444`, which the rows "qemu-spice 4:4:4" are of."""

    def plots(self):
        def of(part, name, groups):
            return lambda who: {label: self.get(part, who, case, name) for label, case in groups.items()}
        groups = {case: case for case in ("motion 10", "motion 30", "text 30", "page 30", "drag 30")}
        for file, name, title in (("pixel", "pixel_ms", "From an update to the decoded pixel in spice-gtk"), ("socket", "socket_ms", "From an update to its bytes at the client's socket")):
            take = of("path", name, groups)
            if any(take(OURS).values()):
                plot.bars(self.docs / f"performance-{file}.svg", title, "milliseconds, less is better", list(groups), [OURS, LIBSPICE], {who: take(who) for who in (OURS, LIBSPICE)})
        counts = {count: count for count in ("1", "4", "16", "64")}
        take = of("viewers", "cpu_ms", counts)
        if any(take(OURS).values()):
            plot.lines(self.docs / "performance-viewers.svg", "CPU for each frame of the guest", "milliseconds, less is better", list(counts), [OURS, LIBSPICE],
                       {who: take(who) for who in (OURS, LIBSPICE)}, "viewers")
        take = of("pages", "pixel_ms", {film: f"{film} 30" for film in FILMS})
        if any(take(PAGE).values()):
            plot.bars(self.docs / "performance-pages.svg", "From QEMU's update to the canvas, 30 updates a second",
                      "milliseconds, less is better", FILMS, [PAGE, GTK, HTML5, NOVNC],
                      {who: take(who) for who in (PAGE, GTK, HTML5, NOVNC)}, logarithmic=True)
        films = {film: film for film in FILMS}
        take = of("guest", "pixel_ms", films)
        if any(take(OURS).values()):
            plot.bars(self.docs / "performance-guest.svg", "From QEMU's update to the pixel, with a real guest", "milliseconds, less is better", FILMS, [OURS, SPICE, VNC],
                      {who: take(who) for who in (OURS, SPICE, VNC)}, logarithmic=True)


def spread(value, scale=1.0):
    if not value:
        return "–"
    middle, low, high = (number(value[name] * scale) for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} [{low}, {high}]"


def highest(values):
    """The one with the highest median."""
    return max((value for value in values if value), key=lambda value: value["median"], default=None)


def met(value, condition):
    if not value:
        return "not measured"
    return "**met**" if condition(value["median"]) else "**not met**"


def micro_results(criterion):
    """(name, ns) of each micro-benchmark's last run."""
    found = []
    for path in sorted(criterion.glob("**/new/benchmark.json"), key=lambda path: path.stat().st_mtime):
        name = json.loads(path.read_text())["full_id"]
        found.append((name, json.loads(path.with_name("estimates.json").read_text())["median"]["point_estimate"]))
    return found


def versions(settings):
    """What was measured with."""
    found = {"qemu-spice": words_of([settings.program, "--version"]), "spice-gtk": package("libspice-client-glib-2.0-8"),
             "GStreamer": package("libgstreamer1.0-0"), "x264 (libx264)": package("libx264-164")}
    if settings.tree:
        found |= {"libspice-server": package("libspice-server1", settings.tree), "its GStreamer": package("libgstreamer1.0-0", settings.tree)}
    found["QEMU"] = words_of([settings.qemu, "--version"])
    if settings.novnc:
        found |= {"Chromium": package("chromium"), "spice-html5": package("spice-html5"),
                  "noVNC": json.loads((Path(settings.novnc) / "package.json").read_text())["version"]}
    return {name: version for name, version in found.items() if version}


def words_of(command):
    line = subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]
    told = re.search(r"\d+\.\d+\S*", line)
    return told[0] if told else ""


def package(name, tree=Path("/")):
    entry = re.search(rf"^Package: {re.escape(name)}\n(?:.+\n)*?Version: (.+)$", (tree / "var/lib/dpkg/status").read_text(), re.M)
    return f"{entry[1]} (Debian)" if entry else ""
