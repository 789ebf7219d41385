#!/usr/bin/python3
"""Says how alike two pictures are: `compare.py ONE TWO [--difference FILE] [--at-least DB]`.

Prints `PSNR NN.N dB` (or `PSNR inf dB: every pixel is equal`). `--difference` writes both pictures and
their difference, eight times amplified, side by side. `--at-least` makes a worse result exit code 1.
"""

import argparse
import math
import sys

import numpy
from PIL import Image


def load(path):
    """A picture file as an array of rows of red, green, blue."""
    with Image.open(path) as image:
        return numpy.asarray(image.convert("RGB")).astype(numpy.int16)


def psnr(one, two):
    """Peak signal-to-noise ratio over all three colours, in dB: `inf` where every pixel is equal."""
    if one.shape != two.shape:
        raise ValueError(f"the pictures have different sizes: {size(one)} and {size(two)}")
    error = numpy.mean((one - two).astype(numpy.float64) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def size(picture):
    return f"{picture.shape[1]}x{picture.shape[0]}"


def write_difference(one, two, path):
    """Both pictures and, eight times amplified, what differs."""
    rows = min(one.shape[0], two.shape[0])
    columns = min(one.shape[1], two.shape[1])
    both = one[:rows, :columns], two[:rows, :columns]
    difference = numpy.clip(abs(both[0] - both[1]) * 8, 0, 255)
    Image.fromarray(numpy.hstack([*both, difference]).astype(numpy.uint8)).save(path)


def words(decibels):
    return "PSNR inf dB: every pixel is equal" if math.isinf(decibels) else f"PSNR {decibels:.1f} dB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one")
    parser.add_argument("two")
    parser.add_argument("--difference", metavar="FILE")
    parser.add_argument("--at-least", metavar="DB", type=float)
    arguments = parser.parse_args()
    one, two = load(arguments.one), load(arguments.two)
    if arguments.difference:
        write_difference(one, two, arguments.difference)
    try:
        result = psnr(one, two)
    except ValueError as error:
        sys.exit(f"compare.py: {error}")
    print(words(result))
    if arguments.at_least is not None and result < arguments.at_least:
        sys.exit(1)


if __name__ == "__main__":
    main()
