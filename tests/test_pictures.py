from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from framepred.pictures import Display, code_picture, decode_picture

# FFmpeg's display matrices in 16.16 fixed point: a b u, c d v, x y w.
ONE = 65536
W = 1 << 30
CASES = {
    "upright": ((ONE, 0, 0, 0, ONE, 0, 0, 0, W), lambda a: a),
    "mirrored": ((-ONE, 0, 0, 0, ONE, 0, 0, 0, W), lambda a: a[:, ::-1]),
    "upside down": ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, W), lambda a: np.rot90(a, 2)),
    "clockwise": ((0, ONE, 0, -ONE, 0, 0, 0, 0, W), lambda a: np.rot90(a, -1)),
    "counter-clockwise": ((0, -ONE, 0, ONE, 0, 0, 0, 0, W), lambda a: np.rot90(a, 1)),
    "turned by a little": ((60000, 26000, 0, -26000, 60000, 0, 0, 0, W), lambda a: a),
}


def make_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("name", CASES)
def test_a_picture_is_turned_as_its_matrix_says(name: str) -> None:
    matrix, turn = CASES[name]
    image = make_image(24, 40)
    display = Display(40, 24, matrix=matrix)
    shown = display.show(image, side=100)
    assert np.array_equal(shown, turn(image))
    assert display.size == (shown.shape[1], shown.shape[0])


def test_pixels_are_made_square_and_pictures_fit_a_box() -> None:
    image = make_image(576, 720)
    wide = Display(720, 576, pixel_shape=Fraction(64, 45))
    assert wide.size == (1024, 576)
    assert wide.show(image, side=256).shape == (144, 256, 3)
    tall = Display(720, 576, pixel_shape=Fraction(2, 3))
    assert tall.size == (720, 864)
    assert tall.show(image, side=432).shape == (432, 360, 3)
    assert Display(8, 6).show(image[:6, :8], side=400).shape == (6, 8, 3)  # never enlarged
    assert Display(720, 576, pixel_shape=Fraction(1, 5000)).size == (720, 576)


def test_deep_pictures_are_shown_in_eight_bits() -> None:
    image = make_image(6, 8).astype(np.uint16) * 257
    assert np.array_equal(Display(8, 6).show(image, side=8), image // 257)


@pytest.mark.parametrize("max_bytes", [60_000, 6000, 900, 300])
def test_noise_is_coded_in_the_bytes_it_may_have(max_bytes: int) -> None:
    picture = code_picture(make_image(180, 320), max_bytes=max_bytes)
    assert len(picture.data) <= max_bytes
    assert decode_picture(picture).shape == (picture.height, picture.width, 3)


def test_a_picture_survives_coding() -> None:
    y, x = np.mgrid[:90, :160]
    image = np.stack((x, y, x + y), 2).astype(np.uint8)
    picture = code_picture(image, max_bytes=20_000)
    error = decode_picture(picture).astype(float) - image
    assert np.abs(error).mean() < 4
    assert picture.uri.startswith("data:image/webp;base64,")
