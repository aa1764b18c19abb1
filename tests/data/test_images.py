"""One image: what its pixels are after decoding, and what can't be decoded."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_vitcnn.data import LazyImages, decode
from keras_vitcnn.data.images import find_unreadable, load_images

pytestmark = pytest.mark.backend_independent


def gradient(width: int, height: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, rows * 0], -1).astype("uint8")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    pixels = gradient(16, 16)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels), "PNG"), 16), pixels)


def test_the_centre_is_kept() -> None:
    pixels = np.zeros((10, 30, 3), "uint8")
    pixels[:, 10:20] = 200
    assert (decode(pixels, 10) == 200).all()


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), "uint8")
    stripes[:, ::2] = 255
    inside = decode(stripes, 16)[:, 2:-2].astype(int)
    assert np.abs(inside - 127).max() <= 2


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_three_channels_of_its_brightness(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 128 * 257, "uint16"))
    else:
        image = Image.new("RGB", (8, 8), (128, 128, 128)).convert(mode)
    decoded = decode(encoded(image, "TIFF" if mode == "CMYK" else "PNG"), 8)
    assert decoded.shape == (8, 8, 3)
    assert decoded.dtype == np.uint8
    # One bit is dithered: right on average.
    assert abs(decoded.mean() - 128) < (20 if mode == "1" else 2)


def test_transparent_pixels_are_white() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (decode(encoded(image, "PNG"), 4) == 255).all()


def test_a_photo_is_turned_upright() -> None:
    image = Image.fromarray(gradient(8, 8))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held turned by 90 degrees
    upright = decode(encoded(image, "PNG", exif=exif), 8)
    np.testing.assert_array_equal(upright, np.rot90(gradient(8, 8), -1))


def test_lazy_images_equal_eager_ones(tmp_path: Path) -> None:
    paths = []
    for number, (width, height) in enumerate([(20, 12), (9, 30), (16, 16), (5, 5)]):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(gradient(width, height)).save(paths[-1])
    eager = load_images(paths, 8)
    lazy = load_images(paths, 8, memory_budget=0)
    assert isinstance(eager, np.ndarray)
    assert isinstance(lazy, LazyImages)
    assert lazy.shape == eager.shape == (4, 8, 8, 3)
    chosen = np.array([3, 0, 2, 2])
    np.testing.assert_array_equal(lazy[chosen], eager[chosen])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_truncated_files_are_found(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    content = encoded(Image.fromarray(noise), kind)
    whole, half = tmp_path / "whole", tmp_path / "half"
    whole.write_bytes(content)
    half.write_bytes(content[: len(content) // 2])
    found = find_unreadable([whole, half])
    assert [path for path, _ in found] == [half]
    assert found[0][1]


def test_files_that_are_no_images_are_found(tmp_path: Path) -> None:
    text, nothing = tmp_path / "text.jpg", tmp_path / "nothing.png"
    text.write_text("hello")
    nothing.touch()
    assert find_unreadable([text, nothing]) == [
        (text, "not an image file"),
        (nothing, "not an image file"),
    ]
