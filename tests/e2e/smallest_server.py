"""The example of the crate `spice-proto`, met by a real client."""

import json
import math
import shutil
import subprocess

import numpy

import compare
from rig import ROOT, Skip

# From the left: white, yellow, cyan, green, magenta, red, blue, black.
BARS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)]


def picture_and_keys(rig):
    """spice-gtk shows what the smallest server draws, to the last pixel, and the server prints the keys"""
    server = rig.start(program=_example())
    server.ready()
    client = rig.client(server)
    shown = rig.fresh("shown", ".png")
    client(f"picture {shown}")
    rig.likeness.append(compare.psnr(_bars(640, 480), compare.load(shown)))
    assert rig.likeness == [math.inf], f"the picture is another one, see {shown}"

    client("key 1e")
    printed = server.process.stdout  # the URI's line is read already
    keys = [printed.readline().decode() for _ in range(2)]
    assert keys == ["Key { code: 30, down: true }\n", "Key { code: 30, down: false }\n"], keys


def _example():
    """Builds the example; returns its path."""
    if not shutil.which("cargo"):
        raise Skip("no cargo here")
    built = subprocess.run(["cargo", "build", "--locked", "--quiet", "--message-format=json", "-p", "spice-proto",
                            "--example", "smallest_server"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert built.returncode == 0, "the example does not build"
    return next(path for path in (json.loads(line).get("executable") for line in built.stdout.splitlines()) if path)


def _bars(width, height):
    """The picture that the example is to draw: bars, in the lower half with half the brightness."""
    row = numpy.repeat(numpy.array(BARS, numpy.int16), width // len(BARS), axis=0)
    upper = numpy.repeat(row[None], height // 2, axis=0)
    return numpy.vstack([upper, upper // 2])
