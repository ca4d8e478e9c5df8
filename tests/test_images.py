"""Pictures of files: uint8 of one size, whatever wrote them, or one line that names the file."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_pipelines import images
from data_pipelines.errors import UserError
from data_pipelines.faces import Face, pixels
from data_pipelines.report import Report
from tests import pictures

RGB = pictures.pixels(0, (16, 16))
GREY = pictures.pixels(1, (16, 16), grey=True)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, colours):
    """A png file of 16 bit: values uint16 [H, W] of grey (colours 0) or [H, W, 3] of RGB (2)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("suffix", "array"),
    [(suffix, GREY) for suffix in images.SUFFIXES]
    + [(suffix, RGB) for suffix in images.SUFFIXES if suffix != ".pgm"],
)
def test_each_format_gives_the_picture_in_rgb_and_grey(tmp_path, suffix, array):
    kind = {".jpe": "JPEG", ".jfif": "JPEG"}.get(suffix)
    how = dict(quality=100) if suffix in (".jpg", ".jpeg", ".jpe", ".jfif", ".webp") else {}
    path = pictures.save(tmp_path / f"a{suffix}", array, format=kind, **how)
    within = 0 if suffix in (".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm") else 24
    wanted = np.stack([array] * 3, 2) if array is GREY else array
    for grey in (False, True):
        read = images.read(path, 16, grey=grey)
        if grey:
            wanted = np.array(Image.fromarray(wanted).convert("L"))
        assert read.dtype == np.uint8 and read.shape == wanted.shape
        assert np.abs(read.astype(int) - wanted).mean() <= within


def test_16_bit_are_scaled_and_not_cut(tmp_path):
    path = tmp_path / "a.png"
    values = (GREY.astype(np.uint16) * 257).astype(np.uint16)
    path.write_bytes(png(values, 0))
    np.testing.assert_array_equal(images.read(path, 16, grey=True), GREY)
    path.write_bytes(png(RGB.astype(np.uint16) * 257, 2))
    np.testing.assert_array_equal(images.read(path, 16), RGB)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif", 16, grey=True), GREY)
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(images.read(tmp_path / "a.pgm", 16, grey=True), GREY)


def test_cmyk_palettes_and_two_colours_become_rgb(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    for name in ("cmyk.jpg", "p.png"):
        assert np.abs(images.read(tmp_path / name, 16).astype(int) - RGB).mean() < 8
    Image.fromarray(GREY > 128).save(tmp_path / "two.png")
    assert set(images.read(tmp_path / "two.png", 16).flat) == {0, 255}


def test_what_is_transparent_becomes_white(tmp_path):
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:8] = 255
    pictures.save(tmp_path / "a.png", np.dstack([RGB, alpha]))
    read = images.read(tmp_path / "a.png", 16)
    np.testing.assert_array_equal(read[:8], RGB[:8])
    assert (read[8:] == 255).all()
    flat = Image.fromarray(np.repeat(np.uint8([[0], [1]]), 8, 0).repeat(16, 1))
    flat.putpalette([10, 20, 30, 40, 50, 60])
    flat.save(tmp_path / "p.png", transparency=1)
    read = images.read(tmp_path / "p.png", 16)
    assert (read[:8] == (10, 20, 30)).all() and (read[8:] == 255).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_picture_is_turned_upright_and_a_broken_exif_is_passed_over(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    pictures.save(tmp_path / "a.png", RGB, exif=exif)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png", 16), np.rot90(RGB, -1))
    pictures.save(tmp_path / "b.png", RGB, exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(images.read(tmp_path / "b.png", 16), RGB)


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16), v, np.uint8)) for v in (50, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert (images.read(tmp_path / "a.gif", 16) == 50).all()


def test_resizing_averages_the_pixels_that_a_new_one_covers(tmp_path):
    stripes = np.tile(np.uint8([0, 255]), (64, 32))
    pictures.save(tmp_path / "a.png", stripes)
    read = images.read(tmp_path / "a.png", 16, grey=True)
    assert read.shape == (16, 16) and np.abs(read[:, 1:-1].astype(int) - 127).max() < 3
    pictures.save(tmp_path / "wide.png", pictures.pixels(0, (16, 40)))
    assert images.read(tmp_path / "wide.png", 16).shape == (16, 16, 3)


def test_a_box_is_cut_out_and_ends_at_the_picture(tmp_path):
    path = pictures.save(tmp_path / "a.png", RGB)
    np.testing.assert_array_equal(images.read(path, 8, box=(2, 4, 10, 12)), RGB[4:12, 2:10])
    np.testing.assert_array_equal(images.read(path, 8, box=(8, -9, 99, 8)), RGB[:8, 8:])
    for box in ((0, 0, 7, 16), (10, 0, 2, 16), (20, 0, 40, 16)):
        with pytest.raises(UserError, match="is no part of 16 x 16 pixels that has 8 a side"):
            images.read(path, 8, box=box)


def test_a_letterbox_keeps_proportions_and_puts_black_beside_the_picture(tmp_path):
    white = np.full((20, 30), 255, np.uint8)
    path = pictures.save(tmp_path / "a.png", white)
    read = images.read(path, 25, grey=True, letterbox=True)
    # 25 / 30 of 20 rows are 16.7, cut to 16: four rows of black above, five below.
    assert (read[4:20] == 255).all() and not read[:4].any() and not read[20:].any()
    assert images.letterboxed(Image.fromarray(white.T), 25)[1] == (4, 0, 16, 25)
    assert images.letterboxed(Image.new("RGB", (400, 8)), 16)[1] == (0, 7, 16, 1)
    assert (images.read(path, 25, grey=True) == 255).all()


def damaged(path):
    """{what a file holds: how it is named}."""
    whole = pictures.save(path, pictures.pixels(0, (64, 64))).read_bytes()

    def of(array, kind="PNG"):
        return pictures.save(path, array, format=kind).read_bytes()

    return {
        b"": "it has 0 bytes",
        b"no picture at all": "its content is of no known format",
        b"<!DOCTYPE html><html>404</html>": "it is a page of the web",
        whole[: len(whole) // 2]: "Truncated File Read",
        of(pictures.pixels(0, (64, 64)), "JPEG")[:900]: "image file is truncated",
        of(RGB, "BMP")[:200]: "image file is truncated",
        of(RGB[:1, :1]): "1 x 1 pixels are no face, expected 8 a side or more",
        of(RGB[:7]): "16 x 7 pixels are no face",
        of(np.ones((16, 16), np.float32), "TIFF"): "its pixels are floats",
        of(np.full((16, 16), 70_000, np.int32), "TIFF"): "its pixels are no numbers of 16 bit",
        b"version https://git-lfs.github.com/spec/v1\n": "a pointer to a file that is not here",
        b"P5 20000 20000 255\n": "at most 100,000,000 are unpacked",
        b"P5 11000 10000 255\n": "at most 100,000,000 are unpacked",
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_picture_is_named_with_the_reason(tmp_path):
    path = tmp_path / "a.jpg"
    for data, message in damaged(path).items():
        path.write_bytes(data)
        with pytest.raises(UserError, match=message) as error:
            images.read(path, 16)
        assert str(error.value).count(str(path)) == 1 and "\n" not in str(error.value)
    for gone, message in ((tmp_path / "gone.jpg", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"{gone}: not a readable picture .{message}"):
            images.read(gone, 16)


def test_pictures_come_in_their_order_and_bad_ones_are_named_together(tmp_path):
    faces = [
        Face(f"p{i}", "train", 0, pictures.save(tmp_path / f"{i}.png", pictures.pixels(i)))
        for i in range(12)
    ]
    how = dict(size=48, grey=False)
    read = list(pixels(faces, Report(), "train", skip_bad=False, **how))
    assert [face.name for face, _ in read] == [face.name for face in faces]
    for i, (_, picture) in enumerate(read):
        np.testing.assert_array_equal(picture, pictures.pixels(i))
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "7.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"3\.png: .* Bad are also 1 of 12: .*7\.png.*--skip-bad"):
        list(pixels(faces, Report(), "train", skip_bad=False, **how))
    report = Report()
    left = [face.name for face, _ in pixels(faces, report, "train", skip_bad=True, **how)]
    assert len(left) == 10 and "p3" not in left and "p7" not in left
    assert len(report.notes) == 1 and "7.png" in report.notes[0]
