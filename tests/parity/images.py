"""Writes the small photo files of the imaging tests, and what a reader should see in them.

    tests/parity/images.py --out DIR

Each file is one way in which photos arrive. `expected.json` gives, for every file that can be read,
its size, its pixels in hexadecimal as Pillow decodes them (upright, over white, 8-bit RGB), and
the largest difference allowed: decoders of JPEG and lossy WebP round differently.
"""

import argparse
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

WIDTH, HEIGHT = 24, 16


def scene(width=WIDTH, height=HEIGHT):
    """A smooth picture whose four corners differ, so that a wrong turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / max(width - 1, 1)
    green = 255 * y / max(height - 1, 1)
    blue = 128 + 100 * np.sin(x / 5) * np.cos(y / 4)
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def chunk(kind, data):
    """A PNG chunk."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG of raw rows (filter byte included); Pillow can't write every kind."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def png_rows(samples):
    """Unfiltered PNG rows of an array `[height, width, channels]`."""
    return b"".join(b"\0" + row.tobytes() for row in samples)


def write_readable(out):
    """The files that can be read; answers name → (expected RGB array, tolerance)."""
    rgb = scene()
    picture = Image.fromarray(rgb)
    expected = {}

    def save(name, image, tolerance, **options):
        image.save(out / name, **options)
        opened = ImageOps.exif_transpose(Image.open(out / name))
        expected[name] = (np.asarray(opened.convert("RGB")), tolerance)

    save("plain.png", picture, 0)
    save("plain.bmp", picture, 0)
    save("plain.jpg", picture, 4, quality=95, subsampling=0)
    save("subsampled.jpg", picture, 12, quality=90, subsampling=2)
    save("progressive.jpg", picture, 4, quality=95, subsampling=0, progressive=True)
    save("grey.jpg", picture.convert("L"), 2, quality=95)
    save("cmyk.jpg", picture.convert("CMYK"), 6, quality=95, subsampling=0)
    # The same samples declared as YCCK: the transform byte that ends Adobe's segment.
    cmyk = bytearray((out / "cmyk.jpg").read_bytes())
    cmyk[cmyk.index(b"Adobe") + 11] = 2
    (out / "ycck.jpg").write_bytes(cmyk)
    expected["ycck.jpg"] = (np.asarray(Image.open(out / "ycck.jpg").convert("RGB")), 6)
    save("lossless.webp", picture, 0, lossless=True)
    save("lossy.webp", picture, 24, quality=90)
    save("palette.png", picture.quantize(16), 0)
    save("grey.png", picture.convert("L"), 0)
    save("bilevel.png", picture.convert("1"), 0)
    save("pixel.png", Image.new("RGB", (1, 1), (200, 30, 60)), 0)
    save("pixel.gif", Image.new("P", (1, 1), 0), 0)
    save("pixel.jpg", Image.new("RGB", (1, 1), (200, 30, 60)), 4, quality=95)
    frames = [picture.quantize(32), Image.new("RGB", picture.size, (0, 0, 0)).quantize(2)]
    save("animated.gif", frames[0], 0, save_all=True, append_images=frames[1:], duration=100)
    black = Image.new("RGB", picture.size)
    save("animated.webp", picture, 0, save_all=True, append_images=[black], lossless=True)
    save("animated.png", picture, 0, save_all=True, append_images=[black])
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        save(f"turned{turn}.jpg", picture, 4, quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned6.png", picture, 0, exif=exif)
    save("turned6.webp", picture, 0, exif=exif, lossless=True)

    deep = rgb.astype(">u2") * 257
    (out / "deep.png").write_bytes(png(WIDTH, HEIGHT, 16, 2, png_rows(deep)))
    expected["deep.png"] = (rgb, 0)
    deep_grey = deep[..., :1]
    (out / "deep_grey.png").write_bytes(png(WIDTH, HEIGHT, 16, 0, png_rows(deep_grey)))
    expected["deep_grey.png"] = (np.repeat(rgb[..., :1], 3, axis=-1), 0)

    alpha = np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
    rgba = Image.fromarray(np.dstack([rgb, alpha]))
    over_white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    for name in ("alpha.png", "alpha.webp"):
        options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
        rgba.save(out / name, **options)
        expected[name] = (np.asarray(over_white), 1)
    grey_alpha = rgba.convert("LA")
    grey_alpha.save(out / "grey_alpha.png")
    over_white = Image.alpha_composite(
        Image.new("RGBA", rgba.size, "white"), grey_alpha.convert("RGBA")
    )
    expected["grey_alpha.png"] = (np.asarray(over_white.convert("RGB")), 1)
    hole = picture.quantize(16)
    hole.save(out / "transparent.gif", transparency=int(np.asarray(hole)[0, 0]))
    over_white = Image.alpha_composite(
        Image.new("RGBA", rgba.size, "white"), Image.open(out / "transparent.gif").convert("RGBA")
    )
    expected["transparent.gif"] = (np.asarray(over_white.convert("RGB")), 0)
    return expected


def write_broken(out):
    """Files that nobody can read, and bombs."""
    pictures = ("plain.png", "plain.jpg", "progressive.jpg", "plain.bmp")
    for name in (*pictures, "lossless.webp", "animated.gif"):
        whole = (out / name).read_bytes()
        (out / f"cut_{name}").write_bytes(whole[: len(whole) * 6 // 10])
    damaged = bytearray((out / "plain.png").read_bytes())
    damaged[len(damaged) // 2] ^= 0x55
    (out / "damaged.png").write_bytes(bytes(damaged))
    # 60,000 × 60,000 pixels that compress to a few kilobytes; only the first rows are there.
    rows = b"\0" * (7501 * 400)
    (out / "bomb.png").write_bytes(png(60_000, 60_000, 1, 0, rows))
    # A GIF of one pixel whose only frame claims 65,535 × 65,535.
    bomb = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    bomb += b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\x00;"
    (out / "bomb.gif").write_bytes(bomb)
    # A colour profile that inflates to 64 MB.
    profile = b"bomb\0\0" + zlib.compress(b"\0" * (64 << 20), 9)
    rows = png_rows(scene(1, 1))
    (out / "bomb_profile.png").write_bytes(png(1, 1, 8, 2, rows, chunk(b"iCCP", profile)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    expected = write_readable(out)
    write_broken(out)
    lines = [
        f"  {json.dumps(name)}: "
        + json.dumps(
            {
                "width": rgb.shape[1],
                "height": rgb.shape[0],
                "tolerance": tolerance,
                "rgb": rgb.tobytes().hex(),
            }
        )
        for name, (rgb, tolerance) in sorted(expected.items())
    ]
    (out / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
