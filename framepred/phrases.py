"""How counts, rates and scores are put into words, in a terminal and in a page alike."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["count", "tell_rate", "tell_scores"]


def count(n: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def tell_rate(step: Fraction | None) -> str:
    """Frames a second; None: the rate varies."""
    return "variable frame rate" if step is None else f"{float(1 / step):.6g} frames/s"


def tell_scores(psnr: float | None, ssim: float | None) -> tuple[str, str]:
    """Decibels and SSIM as people read them; a dash for what was not measured."""
    return ("-" if psnr is None else f"{psnr:.2f}", "-" if ssim is None else f"{ssim:.4f}")
