"""Contact sheets: all gaps of a video on one picture, a row of small frames for each."""

from __future__ import annotations

from .albums import Album
from .captions import KIND_COLOURS, Canvas
from .pictures import decode_picture
from .reports import FillReport, GapReport
from .timeline import format_time

__all__ = ["draw_sheet"]

_COLUMNS = 10
_SPACE = 8
_LINE = 26


def draw_sheet(report: FillReport, album: Album, *, suffix: str = ".png") -> bytes:
    """Draw the frames around every gap, the made ones framed in the colour of its kind.

    suffix: which format, by the ending of a file; one of ``captions.SUFFIXES``.

    Gaps that the album has no pictures of stand there with their line of text alone.
    """
    rows = [
        (gap, [(f, decode_picture(f.picture)) for f in album.list_gap(index).film])
        for index, gap in enumerate(report.gaps)
    ]
    images = [image for _, film in rows for _, image in film]
    wide = max((image.shape[1] for image in images), default=100)
    high = max((image.shape[0] for image in images), default=10)
    n_columns = max(3, min(_COLUMNS, max((len(film) for _, film in rows), default=1)))
    heights = [_LINE + -(-len(film) // n_columns) * (high + _LINE - 4) + _SPACE for _, film in rows]
    width = max(560, _SPACE + n_columns * (wide + _SPACE))
    canvas = Canvas(width, 2 * _SPACE + 34 + sum(heights))
    made = "frame made" if report.frames_made == 1 else "frames made"
    gaps = "gap" if len(report.gaps) == 1 else "gaps"
    title = f"{report.frames_made} {made}, {len(report.gaps)} {gaps}"
    canvas.write(title, _SPACE, _SPACE, size=22)
    top = _SPACE + 40
    for (gap, film), height in zip(rows, heights, strict=True):
        colour = KIND_COLOURS[gap.kind]
        canvas.write(_caption(gap), _SPACE, top - 4, size=16, colour=colour)
        for place, (frame, image) in enumerate(film):
            line, column = divmod(place, n_columns)
            left = _SPACE + column * (wide + _SPACE)
            below = top + _LINE + line * (high + _LINE - 4)
            is_made = frame.role == "made"
            canvas.put(image, left, below, frame=colour if is_made else None)
            canvas.write(
                str(frame.slot),
                left,
                below + high,
                size=12,
                colour=colour if is_made else None,
                faint=True,
            )
        top += height
    return canvas.code(suffix)


def _caption(gap: GapReport) -> str:
    frames = f"frame {gap.start}" if gap.n_frames == 1 else f"frames {gap.start} to {gap.stop - 1}"
    parts = [frames, format_time(gap.time), gap.kind, gap.action]
    told = [f.estimated_psnr for f in gap.frames if f.estimated_psnr is not None]
    if told:
        parts.append(f"estimated {sum(told) / len(told):.1f} dB")
    if gap.psnr is not None:
        parts.append(f"{gap.psnr:.1f} dB to the reference")
    return " · ".join(parts)
