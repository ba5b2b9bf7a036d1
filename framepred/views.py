"""Views of what was done: the files, beside the video itself, by which a person sees it.

They are looked after together: their paths are checked before any work, they watch the frames as
these pass by, and they appear when all is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .errors import OutputError
from .outputs import check_output, is_same_place, name_output, write_bytes, write_text

if TYPE_CHECKING:
    from .albums import Album
    from .reports import FillReport, ForecastReport, FuturesReport, MadeFrameReport
    from .stills import Stills
    from .timeline import Plan
    from .video import Frame, VideoInfo

__all__ = ["FutureViews", "Views", "Watch", "Watcher", "name_views"]


class Watcher(Protocol):
    """Sees the frames of a video while its gaps are filled."""

    def see_input(self, slot: int, frame: Frame) -> None:
        """A real frame, in order; also one that will be replaced."""

    def see_made(self, slot: int, frame: Frame, true: Frame | None = None) -> None:
        """A frame that was made, as it will be written, and the true one where that is known."""

    def see_true(self, slot: int, frame: Frame) -> None:
        """The true frame of one that was made before."""

    def see_scores(self, index: int, frames: tuple[MadeFrameReport, ...]) -> None:
        """All frames of a planned gap have been made, and all self-checks for it."""

    def finish(self) -> None:
        """Nothing more comes."""

    def abandon(self) -> None:
        """Leave nothing behind: something went wrong."""


class Watch:
    """All watchers of one video."""

    def __init__(self) -> None:
        self.watchers: list[Watcher] = []
        self.album: Album | None = None
        self.stills: Stills | None = None

    def see_input(self, slot: int, frame: Frame) -> None:
        """As ``Watcher`` has it."""
        for watcher in self.watchers:
            watcher.see_input(slot, frame)

    def see_made(self, slot: int, frame: Frame, true: Frame | None = None) -> None:
        """As ``Watcher`` has it."""
        for watcher in self.watchers:
            watcher.see_made(slot, frame, true)

    def see_true(self, slot: int, frame: Frame) -> None:
        """As ``Watcher`` has it."""
        for watcher in self.watchers:
            watcher.see_true(slot, frame)

    def see_scores(self, index: int, frames: tuple[MadeFrameReport, ...]) -> None:
        """As ``Watcher`` has it."""
        for watcher in self.watchers:
            watcher.see_scores(index, frames)


@dataclass(frozen=True)
class Views:
    """Which views are wanted, and where they go; None: not wanted."""

    report: Path | None = None  # a page, HTML
    preview: Path | None = None  # a video, MP4: as it played beside the filled one
    contact_sheet: Path | None = None  # a picture, PNG, WebP or JPEG: the frames around every gap
    frames_dir: Path | None = None  # a folder of the made frames, PNG, and a list of them
    overwrite: bool = False

    def check(self, source: Path, others: Iterable[Path | None] = ()) -> None:
        """Refuse, before any work, what could not be written or would destroy something.

        others: files that are read or written besides.

        Raises:
            OutputError: a view is the input or one of the others, exists already (and not
                ``overwrite``), is a folder, or its folder is not there or not writable.
        """
        taken = [other for other in others if other is not None]
        for path in self._list_paths():
            if any(is_same_place(path, other) for other in taken):
                raise OutputError(f"{path}: is already the name of another file; choose another")
            taken.append(path)
            if path == self.frames_dir:
                from .stills import check_folder

                check_folder(path, overwrite=self.overwrite)
            else:
                check_output(source, path, overwrite=self.overwrite)
            if path == self.contact_sheet:
                from .captions import SUFFIXES

                if path.suffix.lower() not in SUFFIXES:
                    raise OutputError(f"{path}: must end in one of {', '.join(SUFFIXES)}")

    @property
    def are_any(self) -> bool:
        """Whether any is wanted."""
        return bool(self._list_paths())

    def _list_paths(self) -> list[Path]:
        paths = (getattr(self, each.name) for each in fields(self))
        return [path for path in paths if isinstance(path, Path)]

    @contextmanager
    def watch(self, info: VideoInfo, plan: Plan) -> Iterator[Watch]:
        """Watch a video being filled; on an error nothing is left behind."""
        watch = Watch()
        try:
            self._begin(watch, info, plan)
            yield watch
            for watcher in watch.watchers:
                watcher.finish()
        except BaseException:
            for watcher in watch.watchers:
                watcher.abandon()
            raise

    def _begin(self, watch: Watch, info: VideoInfo, plan: Plan) -> None:
        if self.report is not None or self.contact_sheet is not None:
            from .albums import Album, make_display

            n_albums = self.n_futures if isinstance(self, FutureViews) else 1
            watch.album = Album(plan, make_display(info), n_albums=n_albums)
            watch.watchers.append(watch.album)
        if self.preview is not None:
            from .previews import Preview

            watch.watchers.append(Preview(self.preview, info, plan))
        if self.frames_dir is not None:
            from .stills import Stills

            watch.stills = Stills(self.frames_dir, info, overwrite=self.overwrite)
            watch.watchers.append(watch.stills)

    def show_fill(
        self, report: FillReport, *, info: VideoInfo, plan: Plan, watch: Watch | None = None
    ) -> FillReport:
        """Write what can only be written now; returns the report.

        Raises:
            OutputError: the disk refuses.
        """
        if watch is not None and watch.stills is not None:
            watch.stills.publish(report)
        if self.report is not None:
            from .gap_pages import render_fill

            album = None if watch is None else watch.album
            write_text(self.report, render_fill(report, info=info, plan=plan, album=album))
        if self.contact_sheet is not None and watch is not None and watch.album is not None:
            from .contacts import draw_sheet

            suffix = self.contact_sheet.suffix
            write_bytes(self.contact_sheet, draw_sheet(report, watch.album, suffix=suffix))
        return report

    def show_forecast(
        self, report: ForecastReport, *, info: VideoInfo, plan: Plan, watch: Watch
    ) -> None:
        """The same of a forecast; ``plan`` has it as its only gap."""
        if self.report is not None:
            from .forecast_pages import render_forecast

            page = render_forecast([report], info=info, plan=plan, albums=[watch.album])
            write_text(self.report, page)


@dataclass(frozen=True)
class FutureViews(Views):
    """Views of one future of several: they wait for the others."""

    n_futures: int = 1
    seen: list[tuple[ForecastReport, VideoInfo, Plan, Album | None]] = field(default_factory=list)

    def check(self, source: Path, others: Iterable[Path | None] = ()) -> None:
        """They have been checked, all together."""

    def show_forecast(
        self, report: ForecastReport, *, info: VideoInfo, plan: Plan, watch: Watch
    ) -> None:
        """Keep it."""
        self.seen.append((report, info, plan, watch.album))

    def show_futures(self, report: FuturesReport) -> None:
        """Write one page of all futures.

        Raises:
            OutputError: the disk refuses.
        """
        if self.report is not None and self.seen:
            from .forecast_pages import render_forecast

            reports, infos, plans, albums = zip(*self.seen, strict=True)
            page = render_forecast(
                reports, info=infos[0], plan=plans[0], albums=albums, futures=report
            )
            write_text(self.report, page)


def name_views(
    source: Path,
    *,
    report: Path | None = None,
    preview: Path | None = None,
    contact_sheet: Path | None = None,
    frames_dir: Path | None = None,
    is_shared: bool = False,
    overwrite: bool = False,
) -> Views:
    """The views of one video; a path that is a folder stands for a file of the usual name there.

    ``clip.mp4`` -> ``clip.report.html``, ``clip.preview.mp4``, ``clip.contact-sheet.png``; the
    made frames go into ``frames_dir`` itself, or if that ``is_shared`` with other videos, into
    ``clip.frames`` there.
    """

    def name(path: Path | None, word: str, suffix: str) -> Path | None:
        if path is None or not os.path.isdir(path):
            return path
        return name_output(source, word, output=path).with_suffix(suffix)

    if frames_dir is not None and is_shared:
        frames_dir = name_output(source, "frames", output=frames_dir).with_suffix("")
    return Views(
        report=name(report, "report", ".html"),
        preview=name(preview, "preview", ".mp4"),
        contact_sheet=name(contact_sheet, "contact-sheet", ".png"),
        frames_dir=frames_dir,
        overwrite=overwrite,
    )
