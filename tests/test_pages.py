from __future__ import annotations

import html.parser
import json
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from blending import BlendPredictor, SlidePredictor
from synthetic import make_frames, make_times, write_clip, write_gappy_clip

from framepred.charts import Series, draw_chart
from framepred.errors import OutputError
from framepred.filling import fill_gaps
from framepred.forecasting import forecast
from framepred.futures import draw_futures
from framepred.gap_pages import render_fill
from framepred.pages import render
from framepred.reports import DropReport, FillReport, Seconds
from framepred.scanning import scan
from framepred.scoring import score_image
from framepred.video import open_rgb_frames
from framepred.views import Views, name_views

HOSTILE = "<img src=x onerror=alert(1)>&\"'{{7*7}}"


class Reader(html.parser.HTMLParser):
    """Elements, what they refer to, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def find(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.tags
            if name == tag and all(found.get(key.rstrip("_")) == v for key, v in wanted.items())
        ]


Fill = Callable[..., tuple[FillReport, Reader]]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    def run(source: Path, **options: object) -> tuple[FillReport, Reader]:
        page = tmp_path / "page.html"
        report = fill_gaps(
            source,
            tmp_path / f"out{source.suffix}",
            predictor=BlendPredictor(),
            views=Views(report=page, overwrite=True),
            overwrite=True,
            **options,
        )
        return report, Reader(page.read_text(encoding="utf-8"))

    return run


def test_a_page_shows_every_gap_and_refers_to_nothing_outside(fill: Fill, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    write_gappy_clip(source, 60, [8, 20, 21, 40], codec="ffv1")
    report, page = fill(source, reference=source)
    assert len(page.find("details")) == len(report.gaps) == 3
    assert [link["href"] for link in page.find("a") if "act-fill" in (link.get("class") or "")] == [
        "#gap-1",
        "#gap-2",
        "#gap-3",
    ]
    for gap in report.gaps:
        assert gap.reason in page.text
        for frame in gap.frames:
            assert frame.check_psnr is not None
            assert frame.calmer is not None
            for value in (frame.estimated_psnr, frame.check_psnr):
                assert f"{value:.2f}" in page.text
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
            assert (attributes.get(name) or "data:")[:5].startswith(("data:", "#"))
    for picture in page.find("img"):
        assert picture["src"].startswith("data:image/webp;base64,")
        assert picture["alt"] is not None
        assert picture["loading"] == "lazy"


def test_every_large_picture_is_there_once(fill: Fill, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    write_gappy_clip(source, 30, [12, 13, 14], codec="ffv1")
    _, page = fill(source, self_check=False)
    (looker,) = [tag for name, tag in page.tags if name == "div" and "data-looks" in tag]
    looks = json.loads(looker["data-looks"] or "")
    assert [look["made"] for look in looks] == sorted({look["made"] for look in looks})
    assert len({look["played"] for look in looks}) == 1  # one frame plays on in all three
    assert all(look["true"] is None for look in looks)
    assert "No estimate" in page.text


def test_what_a_file_says_is_text(fill: Fill, tmp_path: Path) -> None:
    # A slash cannot be in a file's name, so no closing tag; all else can.
    source = tmp_path / f"{HOSTILE}.mkv"
    write_gappy_clip(source, 24, [8], codec="ffv1", metadata={"title": HOSTILE})
    _, page = fill(source)
    assert not [tag for name, tag in page.tags if "onerror" in tag]
    assert len(page.find("script")) == 1
    assert HOSTILE in page.text


def test_a_template_escapes_whatever_it_gets() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("fill.html")
    chart = draw_chart(
        [Series("</svg><script>alert(1)</script> $\\frac{$", [1, 2], [3.0, None])],
        x_label="<b>",
        y_label="$x",
    )
    assert "<script" not in chart
    assert "<b>" not in chart
    assert "$x" in chart


def test_a_name_that_is_no_text_is_written_in_escapes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 6, codec="ffv1")
    name = Path(os.fsdecode(b"clip\xff.mkv"))
    scanned = scan(source)
    report = FillReport(
        name, None, 6, 0, 0, None, (), 0, None, (), None, None, None, True, Seconds()
    )
    page = render_fill(report, info=scanned.info, plan=scanned.plan, album=None)
    assert "clip\\udcff.mkv" in Reader(page).text
    page.encode("utf-8")


def test_a_plan_is_a_page_without_pictures(fill: Fill, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    write_gappy_clip(source, 30, [12, 13], codec="ffv1")
    report, page = fill(source, dry_run=True)
    assert report.dry_run
    assert "nothing was made" in page.text
    assert "frames to make" in page.text
    assert "frames made" not in page.text
    assert not page.find("img")
    assert not (tmp_path / "out.mkv").exists()


def test_a_forecast_is_scored_beside_the_last_frame_held(tmp_path: Path) -> None:
    frames = make_frames(24, speed=(3, 1))
    source = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1")
    page_file = tmp_path / "page.html"
    report = forecast(
        source,
        n_frames=4,
        hold_out=True,
        predictor=SlidePredictor((3, 1)),
        views=Views(report=page_file),
    )
    true = list(open_rgb_frames(source))
    for k, frame in enumerate(report.frames):
        held = score_image(true[19], true[20 + k])
        assert (frame.held_psnr, frame.held_ssim) == (held.psnr, held.ssim)
        assert frame.held_psnr < frame.psnr
    page = Reader(page_file.read_text(encoding="utf-8"))
    (looker,) = [tag for name, tag in page.tags if name == "div" and "data-looks" in tag]
    looks = json.loads(looker["data-looks"] or "")
    assert len(looks) == 4
    assert all(None not in (look["played"], look["true"]) for look in looks)
    for frame in report.frames:
        assert f"{frame.psnr:.2f}" in page.text
        assert f"{frame.held_psnr:.2f}" in page.text


def test_a_forecast_beyond_the_end_says_that_it_is_not_scored(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 20, codec="ffv1")
    views = Views(report=tmp_path / "page.html")
    forecast(source, n_frames=3, predictor=BlendPredictor(), views=views)
    page = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "not scored" in page.text
    labels = {picture["alt"] for picture in page.find("img")}
    assert {f"Made frame {k}, show it large" for k in (20, 21, 22)} <= labels
    assert "Last frame held, frame 20" in labels


def test_several_futures_share_one_page(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 20, codec="ffv1")
    views = Views(report=tmp_path / "page.html")
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OutputError):
        draw_futures(source, n_frames=2, n_samples=3, predictor=Chooser(), views=views)
    (tmp_path / "page.html").rmdir()
    report = draw_futures(
        source, n_frames=2, n_samples=3, predictor=Chooser(), hold_out=True, views=views
    )
    page = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.find("details")) == len(report.samples) == 3
    assert f"{report.diversity:.2f}" in page.text
    assert "best future at this step" in page.text


class Chooser(SlidePredictor):
    """Every future slides at another speed."""

    def pick_future(self, number: int, *, seed: int) -> SlidePredictor:
        return SlidePredictor((number, 1))


def test_suspected_drops_have_a_section_and_a_place_on_the_timeline(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 20, codec="ffv1")
    scanned = scan(source, insert=["5:4"])
    assert scanned.plan.slots[14].moved  # behind the insertion all is later
    drops = (
        DropReport(10, Fraction(10, 25), 3, f"moves on twice {HOSTILE}"),
        DropReport(2, Fraction(2, 25), 1, "too"),
    )
    report = FillReport(
        *(source, None, 20, 0, 0, None, (), 0, None, (), None, None, None, True, Seconds()),
        drops=drops,
    )
    text = render_fill(report, info=scanned.info, plan=scanned.plan, album=None)
    page = Reader(text)
    assert "2 suspected drops, left so" in page.text
    assert "Before frame 10" in page.text
    assert "--insert 10:3" in page.text
    assert HOSTILE in page.text
    assert not page.find("img", onerror="alert(1)")
    places = [tag["style"] for tag in page.find("li", class_="drop")]
    assert places == [f"left: {round(100 * slot / 24, 3)}%" for slot in (14, 2)]
    marks = [tag for tag in page.find("a") if tag.get("href") == "#drops"]
    assert marks[0]["aria-label"] == (
        "Suspected drop before frame 10 at 00:00:00.400, about 3 frames"
    )
    assert page.find("h2", id="drops")


def test_a_tile_says_how_many_frames_it_is_about(fill: Fill, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 30, codec="ffv1")
    report, page = fill(source, gaps=["10:11", "12:13", "14:15"])
    rated = [frame.check_psnr is not None for gap in report.gaps for frame in gap.frames]
    assert rated == [True, False, True]
    assert "estimated PSNR of 2 of 3 frames, lowest" in page.text
    _, page = fill(source, gaps=["20:21"])
    assert "estimated PSNR, lowest" in page.text


def test_want_of_memory_is_told(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, codec="ffv1")
    scanned = scan(source)
    report = FillReport(
        *(source, None, 12, 0, 0, None, (), 0, None, (), None, None, None, True, Seconds()),
        tile_px=256,
        tile_halvings=2,
        motion_halvings=1,
    )
    page = Reader(render_fill(report, info=scanned.info, plan=scanned.plan, album=None))
    assert "of 256 pixels; memory ran out 2 times" in page.text
    assert "found on copies halved 1 time more: memory ran out" in page.text
    report = replace(report, tile_px=None, tile_halvings=0, motion_halvings=0)
    page = Reader(render_fill(report, info=scanned.info, plan=scanned.plan, album=None))
    assert "memory ran out" not in page.text


def test_without_suspected_drops_there_is_no_section(fill: Fill, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, codec="ffv1")
    _, page = fill(source)
    assert not page.find("h2", id="drops")


def test_nothing_to_fill_is_said(fill: Fill, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 12, codec="ffv1")
    _, page = fill(source)
    assert "Nothing to fill" in page.text
    assert not page.find("details")


def test_a_turned_video_is_shown_upright(fill: Fill, tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "clip.mp4",
        make_frames(24, width=96, height=48)[:23],
        times=make_times(24, holes=[9]),
        rotation=90,
    )
    _, page = fill(source)
    sizes = {
        (picture.get("width"), picture.get("height"))
        for picture in page.find("img")
        if "frame" in (picture["alt"] or "")
    }
    assert ("48", "96") in sizes
    assert ("96", "48") not in sizes


@pytest.mark.parametrize("where", ["folder", "missing", "input", "output", "there"])
def test_a_bad_place_is_refused_before_any_work(tmp_path: Path, where: str) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    write_gappy_clip(source, 24, [8], codec="ffv1")
    (tmp_path / "there.html").write_text("mine")
    path = {
        "folder": tmp_path,
        "missing": tmp_path / "no" / "page.html",
        "input": source,
        "output": output,
        "there": tmp_path / "there.html",
    }[where]
    predictor = BlendPredictor()
    with pytest.raises(OutputError) as error:
        fill_gaps(source, output, predictor=predictor, views=Views(report=path))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert predictor.calls == []
    assert not output.exists()
    assert (tmp_path / "there.html").read_text() == "mine"


def test_a_folder_gets_a_page_of_the_usual_name(tmp_path: Path) -> None:
    views = name_views(Path("a/clip.tar.mp4"), report=tmp_path)
    assert views.report == tmp_path / "clip.tar.report.html"
    assert name_views(Path("clip.mp4"), report=Path("x.html")).report == Path("x.html")
    assert name_views(Path("clip.mp4")).report is None


def test_deep_and_tiny_and_odd_videos_have_pages(fill: Fill, tmp_path: Path) -> None:
    for width, height, pixels in ((66, 50, "yuv420p10le"), (16, 8, "yuv444p"), (35, 21, "yuv444p")):
        source = write_clip(
            tmp_path / f"{width}.mkv",
            make_frames(24, width=width, height=height)[:22],
            times=make_times(24, holes=[9, 10]),
            codec="ffv1",
            pix_fmt=pixels,
            sample_aspect_ratio=Fraction(4, 3),
        )
        report, page = fill(source)
        assert report.frames_made == 2
        assert len(page.find("button", class_="frame")) == 2
