from __future__ import annotations

import numpy as np
import pytest

from framepred.pictures import Display
from framepred.tones import is_hdr, map_tones

PQ, HLG, BT709, BT2020 = 16, 18, 1, 9


def show_gray(level: int, transfer: int) -> int:
    shown = map_tones(np.full((1, 1, 3), level, np.uint8), transfer=transfer, primaries=BT2020)
    assert np.ptp(shown.astype(int)) <= 1  # gray stays gray
    return int(shown[0, 0, 0])


def test_levels_of_the_standards() -> None:
    # ITU-R BT.2408: reference white is 58% in PQ and 75% in HLG, and 1000 cd/m2 is 75% in PQ.
    white_pq, white_hlg = show_gray(round(0.58 * 255), PQ), show_gray(round(0.75 * 255), HLG)
    assert white_pq == pytest.approx(white_hlg, abs=3)
    assert 180 < white_pq < 210  # bright, with room for what is brighter
    assert show_gray(192, PQ) == pytest.approx(255, abs=1)
    assert show_gray(255, PQ) == show_gray(255, HLG) == 255
    assert show_gray(0, PQ) == show_gray(0, HLG) == 0


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_brighter_stays_brighter(transfer: int) -> None:
    shown = [show_gray(level, transfer) for level in range(256)]
    assert shown == sorted(shown)


def test_hues_stay_and_wide_colours_are_taken_into_the_screens() -> None:
    image = np.array([[[150, 90, 60], [60, 150, 60], [0, 140, 0]]], np.uint8)
    narrow = map_tones(image, transfer=PQ, primaries=BT709)
    wide = map_tones(image, transfer=PQ, primaries=BT2020)
    assert np.array_equal(np.argmax(wide, -1), np.argmax(image, -1))
    spread = np.ptp(wide.astype(int), -1), np.ptp(narrow.astype(int), -1)
    assert (spread[0] > spread[1])[0, :2].all()  # BT.2020's colours are the stronger ones
    assert wide[0, 2, 0] == wide[0, 2, 2] == 0


def test_other_transfers_are_refused() -> None:
    assert not is_hdr(1)
    with pytest.raises(ValueError, match="got 1"):
        map_tones(np.zeros((1, 1, 3), np.uint8), transfer=1, primaries=1)


def test_a_display_shows_high_dynamic_range_as_a_screen_does() -> None:
    image = np.full((8, 8, 3), 148 * 257, np.uint16)
    assert Display(8, 8).show(image, side=8)[0, 0, 0] == 148
    shown = Display(8, 8, colours=(PQ, BT2020)).show(image, side=8)
    assert shown[0, 0, 0] == show_gray(148, PQ)
    assert Display(8, 8, colours=(1, 1)).show(image, side=8)[0, 0, 0] == 148
