"""The font of the films where there is no guest to have one."""

from PIL import Image, ImageDraw, ImageFont


def write(path):
    """Writes 256 letters of 8x16 pixels, 32 bytes each, of which 16 are used: a bit a pixel."""
    font = ImageFont.load_default()
    letters = bytearray()
    for code in range(256):
        cell = Image.new("1", (8, 16))
        if 32 < code < 127:
            ImageDraw.Draw(cell).text((1, 2), chr(code), fill=1, font=font)
        letters += cell.tobytes() + bytes(16)
    path.write_bytes(letters)
