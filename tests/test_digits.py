from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED

from framepred.digits import MovingDigits, read_digits, trace_paths
from framepred.errors import MediaError

DIGITS = torch.randint(0, 256, (7, 28, 28), generator=torch.Generator().manual_seed(3)).byte()
DIGITS[0] = 255


def pack(digits: np.ndarray, *, magic: int = 0x803, n: int | None = None) -> bytes:
    """An IDX file as yann.lecun.com/exdb/mnist describes it."""
    header = struct.pack(">4I", magic, len(digits) if n is None else n, *digits.shape[1:])
    return header + digits.tobytes()


def make(n: int, *, seed: int = 1, batch_size: int = 4, **options: int) -> torch.Tensor:
    """(n, T, 64, 64)."""
    generator = torch.Generator().manual_seed(seed)
    source = MovingDigits(DIGITS, batch_size=batch_size, generator=generator, **options)
    return torch.cat([batch.frames for batch in source.take(n)])[:, :, 0]


def draw_plainly(dice: np.ndarray, n_frames: int) -> np.ndarray:
    """One sequence, a digit and a frame at a time; dice (n_digits, 4). Returns (T, 64, 64)."""
    frames = np.zeros((n_frames, 64, 64), np.uint8)
    for x, y, turn, which in dice.tolist():
        digit = DIGITS[int(which * len(DIGITS))].numpy()
        v_x, v_y = np.cos(turn * 2 * np.pi), np.sin(turn * 2 * np.pi)
        for k in range(n_frames):
            x += v_x * 0.1
            y += v_y * 0.1
            if x <= 0:
                x, v_x = 0.0, -v_x
            if x >= 1:
                x, v_x = 1.0, -v_x
            if y <= 0:
                y, v_y = 0.0, -v_y
            if y >= 1:
                y, v_y = 1.0, -v_y
            top, left = int(36 * y), int(36 * x)
            part = frames[k, top : top + 28, left : left + 28]
            frames[k, top : top + 28, left : left + 28] = np.maximum(part, digit)
    return frames


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_digits_come_back(tmp_path: Path, packed: bool) -> None:
    content = pack(DIGITS.numpy())
    name = "t10k-images-idx3-ubyte"
    if packed:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    else:
        (tmp_path / name).write_bytes(content)
    assert torch.equal(read_digits(tmp_path, "test"), DIGITS)
    with pytest.raises(MediaError, match="holds neither train-images-idx3-ubyte nor"):
        read_digits(tmp_path, "train")


def test_the_published_files() -> None:
    folder = SHARED / "mnist"
    if not folder.is_dir():
        pytest.skip("MNIST is not here")
    digits = read_digits(folder, "test").float()
    assert digits.shape == (10_000, 28, 28)
    # Known of the 10,000: mean and deviation.
    assert float(digits.mean()) / 255 == pytest.approx(0.1325, abs=5e-5)
    assert float(digits.std()) / 255 == pytest.approx(0.3105, abs=5e-5)


SOUND = pack(DIGITS.numpy())
DAMAGED = {
    "empty": (b"", "ends within its header"),
    "header cut": (SOUND[:12], "ends within its header"),
    "labels": (pack(DIGITS.numpy(), magic=0x801), "magic 0x00000801"),
    "other size": (pack(DIGITS[:, :, :20].numpy()), "28x20"),
    "no digits": (pack(DIGITS[:0].numpy()), "holds 0 digits"),
    "a billion digits": (pack(DIGITS.numpy(), n=10**9), "holds 1000000000 digits"),
    "less": (SOUND[:-1], "less than the 7 digits"),
    "more": (SOUND + b"x", "more than the 7 digits"),
    "bomb": (SOUND + bytes(10**7), "more than the 7 digits"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files(tmp_path: Path, kind: str, packed: bool) -> None:
    content, reason = DAMAGED[kind]
    name = "train-images-idx3-ubyte" + (".gz" if packed else "")
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(MediaError, match=reason) as caught:
        read_digits(tmp_path, "train")
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("cut", [1, 9, 20, -1, -12])
def test_a_truncated_gz(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(SOUND)[:cut])
    with pytest.raises(MediaError, match="fetch it anew") as caught:
        read_digits(tmp_path, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [0, 12, 300, -5])  # magic, data, data, checksum
def test_a_spoilt_gz(tmp_path: Path, place: int) -> None:
    content = bytearray(gzip.compress(SOUND))
    content[place] ^= 0xFF
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(MediaError, match=r"fetch it anew|holds no MNIST") as caught:
        read_digits(tmp_path, "train")
    assert "\n" not in str(caught.value)


# ---- sequences --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_before", "n_missing", "n_digits"), [(10, 10, 2), (3, 40, 1), (1, 2, 3)]
)
def test_pixel_for_pixel_as_the_plain_generator(
    n_before: int, n_missing: int, n_digits: int
) -> None:
    n, n_frames = 12, n_before + n_missing
    dice = torch.rand(
        n, n_digits, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    made = make(n, n_before=n_before, n_missing=n_missing, n_digits=n_digits)
    plain = np.stack([draw_plainly(each, n_frames) for each in dice.numpy()])
    assert torch.equal(made, torch.from_numpy(plain).float() / 255)


def test_what_a_batch_holds() -> None:
    source = MovingDigits(DIGITS, batch_size=3, generator=torch.Generator().manual_seed(0))
    batch = source.draw()
    assert batch.frames.shape == (3, 20, 1, 64, 64)
    assert batch.frames.dtype == torch.float32
    assert (batch.before.shape[1], batch.missing.shape[1], batch.after) == (10, 10, None)
    assert [len(each.frames) for each in source.take(7)] == [3, 3, 1]
    assert source.batch_size == 3


def test_a_seed_names_its_sequences_however_they_are_batched() -> None:
    one = make(9)
    assert torch.equal(one, make(9, batch_size=2))
    assert torch.equal(one, make(9, batch_size=9))
    assert not torch.equal(one, make(9, seed=2))


def test_digits_start_anywhere_and_go_in_any_direction() -> None:
    dice = torch.rand(40_000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    corners = trace_paths(dice, 20)
    assert corners.shape == (40_000, 20, 2)
    assert (int(corners.min()), int(corners.max())) == (0, 36)
    # Over all frames each row and column away from the edges is met as often as any other.
    for axis in (0, 1):
        counts = torch.bincount(corners[:, 0, axis], minlength=37)[6:30].double()
        assert float((counts / counts.mean() - 1).abs().max()) < 0.15
    # From the middle no edge is near: four steps of 3.6 pixels, as often one way as the other.
    middle = ((dice[:, :2] - 0.5).abs() < 0.05).all(-1)
    moved = (corners[middle][:, 4] - corners[middle][:, 0]).double()
    assert float(moved.norm(dim=-1).mean()) == pytest.approx(4 * 3.6, abs=0.1)
    assert float(moved.mean().abs()) < 2
    quadrants = torch.bincount(((moved > 0) * torch.tensor([1, 2])).sum(-1), minlength=4)
    assert int(quadrants.min()) > 0.15 * len(moved)


def test_every_digit_is_drawn_as_often() -> None:
    marked = torch.zeros(5, 28, 28, dtype=torch.uint8)
    marked[:, 14, 14] = torch.arange(1, 6)
    source = MovingDigits(
        marked,
        batch_size=2000,
        generator=torch.Generator().manual_seed(1),
        n_before=1,
        n_missing=1,
        n_digits=1,
    )
    seen = (source.draw().frames[:, 0].amax((1, 2, 3)) * 255).round().long()
    counts = torch.bincount(seen, minlength=6)[1:]
    assert int(counts.sum()) == 2000
    assert int((counts - 400).abs().max()) < 4 * (400 * 0.8) ** 0.5  # four deviations


def test_the_sequences_stay_as_they_are() -> None:
    """What the published figures of this project are measured on must not change unnoticed."""
    content = (make(4) * 255).round().byte().numpy().tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "6fd62bc06e1caf61"
