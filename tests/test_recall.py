from __future__ import annotations

import torch

from framepred.recall import Recall, Values


class Maker:
    """Makes 40 bytes for every key and notes for which positions it was asked."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.asked: list[list[int]] = []

    def __call__(self, lacking: list[int]) -> list[Values]:
        self.asked.append(lacking)
        return [(torch.full((10,), float(ord(self.keys[i]))),) for i in lacking]


def look_up(recall: Recall, keys: str) -> tuple[list[float], list[list[int]]]:
    make = Maker(list(keys))
    found = recall.look_up(list(keys), make)
    return [float(values[0][0]) for values in found], make.asked


def test_what_is_known_is_not_made_again() -> None:
    recall = Recall(10_000)
    assert look_up(recall, "abc") == ([97, 98, 99], [[0, 1, 2]])
    assert look_up(recall, "cdb") == ([99, 100, 98], [[1]])
    assert look_up(recall, "ab") == ([97, 98], [])


def test_a_key_asked_for_twice_is_made_once() -> None:
    assert look_up(Recall(10_000), "aba") == ([97, 98, 97], [[0, 1]])


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    recall = Recall(100)  # two of 40 bytes
    look_up(recall, "ab")
    look_up(recall, "a")
    look_up(recall, "c")
    assert recall.n_bytes == 80
    assert look_up(recall, "ac")[1] == []
    assert look_up(recall, "b")[1] == [[0]]


def test_what_is_too_large_to_keep_is_still_given() -> None:
    recall = Recall(10)
    assert look_up(recall, "ab")[0] == [97, 98]
    assert len(recall) == 0
    assert recall.n_bytes == 0
