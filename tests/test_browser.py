"""Pages in a real browser: they open, they can be used, and they ask for nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from blending import BlendPredictor
from PIL import Image
from synthetic import make_frames, make_times, write_clip

from framepred.albums import FilmFrame, GapAlbum, Look, Motion
from framepred.filling import fill_gaps
from framepred.gap_pages import render_fill
from framepred.pictures import Picture, code_picture
from framepred.reports import FillReport, GapReport, MadeFrameReport, Seconds
from framepred.timeline import Gap, Plan, Slot, plan_gaps
from framepred.video import VideoInfo, probe
from framepred.views import Views

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a real run: three gaps, one of them three frames long, and a reference."""
    folder = tmp_path_factory.mktemp("page")
    frames = make_frames(50, width=320, height=180, speed=(4, 2))
    write_clip(folder / "whole.mkv", frames, lossless=False)
    holes = (10, 20, 21, 22, 40)
    source = write_clip(
        folder / "clip.mkv",
        [frame for i, frame in enumerate(frames) if i not in holes],
        times=make_times(50, holes=holes),
        lossless=False,
    )
    fill_gaps(
        source,
        reference=folder / "whole.mkv",
        predictor=BlendPredictor(),
        views=Views(report=folder / "page.html"),
    )
    return folder / "page.html"


def wait_until(page: Page, condition: str) -> None:
    """Playwright's own way of waiting is forbidden by the page's policy, as it should be."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def cut_edge(page: Page) -> float:
    """Where the made picture begins, in parts of the stage."""
    inset: str = page.locator("#gap-2 .stage img.over").evaluate(
        "e => getComputedStyle(e).clipPath"
    )
    return float(inset.rstrip(")").split()[-1].rstrip("%")) / 100


def test_slider_blink_and_choices(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    gap = page.locator("#gap-2")
    assert gap.evaluate("e => e.open") is False
    gap.locator("summary").click()
    stage, slide = gap.locator(".stage"), gap.locator(".slide")
    assert cut_edge(page) == 0.5

    slide.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert cut_edge(page) == pytest.approx(0.45)
    assert "45 %" in slide.get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert cut_edge(page) == 1

    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40, steps=4)
    page.mouse.up()
    assert cut_edge(page) == pytest.approx(0.25, abs=0.02)

    def shown() -> list[str]:
        """What is seen at the left and at the right end of the stage, with the edge between."""
        script = """e => [0.1, 0.9].map((x) => {
            const box = e.getBoundingClientRect();
            const all = document.elementsFromPoint(box.x + x * box.width, box.y + 5);
            return all.find((hit) => hit.tagName === "IMG").alt;
        })"""
        found: list[str] = stage.evaluate(script)
        return found

    assert shown() == ["As it played, frame 20", "Made frame 21"]  # coded once, for all three
    gap.get_by_label("Reference").check()
    assert shown() == ["Reference, frame 21", "Made frame 21"]
    gap.get_by_role("button", name="Made frame 22").click()
    assert shown() == ["Reference, frame 22", "Made frame 22"]
    assert gap.locator("[data-of-look]:visible").count() == 1

    blink = gap.get_by_role("button", name="Blink")
    blink.click()
    seen = set()
    for _ in range(12):
        seen |= {tuple(shown())}
        page.wait_for_timeout(130)
    assert seen == {("Made frame 22",) * 2, ("Reference, frame 22",) * 2}
    blink.click()
    assert shown() == ["Reference, frame 22", "Made frame 22"]


def test_the_timeline_leads_to_a_gap_by_keyboard(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    link = page.locator(".lane a").nth(2)
    link.focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.getElementById('gap-3').open")
    assert page.evaluate("document.activeElement.closest('details').id") == "gap-3"
    page.keyboard.press("Enter")
    assert page.locator("#gap-3").evaluate("e => e.open") is False
    page.locator("[data-order]").select_option("longest")
    order = page.locator("[data-gaps] > .gap").evaluate_all("es => es.map(e => e.id)")
    assert order == ["gap-2", "gap-1", "gap-3"]


def colours(page: Page, selector: str) -> tuple[list[float], list[float]]:
    """Colour of the text and of what lies behind it."""
    script = """e => {
        const parse = (text) => text.match(/[0-9.]+/g).map(Number);
        const ink = parse(getComputedStyle(e).color);
        let behind = [0, 0, 0, 0];
        for (let at = e; at && (behind.length > 3 && behind[3] === 0); at = at.parentElement)
          behind = parse(getComputedStyle(at).backgroundColor);
        return [ink, behind];
    }"""
    ink, behind = page.locator(selector).first.evaluate(script)
    return ink[:3], behind[:3]


def contrast(one: list[float], two: list[float]) -> float:
    """Contrast ratio by WCAG 2."""

    def luminance(colour: list[float]) -> float:
        parts = [c / 255 for c in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_fits_a_phone(visit: Open, page_file: Path, scheme: str) -> None:
    page = visit(page_file, width=360, height=780, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    lightness = sum(colours(page, "body")[1]) / 3
    assert lightness > 200 if scheme == "light" else lightness < 60
    for selector in ("h1", ".kicker", ".lede", ".tiles dt", ".note", "figcaption", ".when",
                     "th", ".scale span", "footer", ".film .made"):  # fmt: skip
        assert contrast(*colours(page, selector)) >= 4.5, selector
    for kind in ("missing", "corrupt", "smeared", "frozen", "black", "named", "inserted"):
        ink = page.evaluate(
            """kind => {
                const chip = document.querySelector(".chip");
                chip.closest(".gap").className = "gap kind-" + kind;
                return getComputedStyle(chip).color.match(/[0-9.]+/g).map(Number);
            }""",
            kind,
        )
        assert contrast(ink[:3], colours(page, ".card")[1]) >= 4.5, kind
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, img, summary")]
            .filter(e => !e.closest(".lane") || e.tagName === "A")
            .filter(e => !(e.getAttribute("aria-label") || e.labels?.length || e.alt
                           || e.querySelector("img")?.alt || e.textContent.trim()
                           || e.getAttribute("alt") === ""))
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []


def test_a_screenshot_shows_the_gaps(visit: Open, page_file: Path) -> None:
    page = visit(page_file)
    lane = page.locator(".lane")
    picture = np.asarray(Image.open(io.BytesIO(lane.screenshot())).convert("RGB")).astype(int)
    middle = picture[picture.shape[0] // 2]
    is_gap = (np.abs(middle - np.array([11, 95, 165])) < 12).all(1)  # "missing", by day
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_gap.astype(int), [0]))))
    starts, stops = edges[::2] / len(middle), edges[1::2] / len(middle)
    assert starts == pytest.approx([10 / 50, 20 / 50, 40 / 50], abs=0.005)
    assert stops == pytest.approx([11 / 50, 23 / 50, 41 / 50], abs=0.005)
    page.locator("#gap-1").scroll_into_view_if_needed()
    wait_until(
        page,
        "[...document.querySelectorAll('#gap-1 .film .made img')].every(e => e.naturalWidth)",
    )


def test_without_scripts_the_pictures_are_there(visit: Open, page_file: Path) -> None:
    page = visit(page_file, java_script_enabled=False)
    assert page.locator("#gap-1 .stage img:visible").count() == 1
    assert page.locator("#gap-1 .slide").is_visible() is False


class HeavyAlbum:
    """Pictures of noise, as many bytes as a gap may have."""

    def __init__(self, n_gaps: int, n_bytes: int, side: int) -> None:
        rng = np.random.default_rng(3)

        def code(width: int, height: int, share: float) -> Picture:
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            return code_picture(image, max_bytes=int(n_bytes * share))

        large = [code(side, side * 9 // 16, 0.14) for _ in range(4)]
        small = [code(168, 94, 0.03) for _ in range(10)]
        field = [code(320, 180, 0.06) for _ in range(2)]
        self.gap = GapAlbum(
            film=tuple(
                FilmFrame(k, "made" if 4 <= k < 6 else "before", p, k - 4 if 4 <= k < 6 else None)
                for k, p in enumerate(small)
            ),
            looks=tuple(
                Look(k, large[k], large[2], large[3], None, Motion(3, *field, 3.0, 0.1))
                for k in range(2)
            ),
        )
        self.n_bytes = sum(len(p.data) for p in (*large, *small, *small[:1], *field, *field))

    def list_gap(self, index: int) -> GapAlbum:
        return self.gap


def make_plan(n_gaps: int) -> tuple[Plan, tuple[GapReport, ...]]:
    plan = plan_gaps(
        [Slot(Fraction(i, 25), i) for i in range(20 * n_gaps)],
        [Gap(20 * i + 9, 20 * i + 11, "named") for i in range(n_gaps)],
        step=Fraction(1, 25),
        max_gap=16,
        context=4,
    )
    frame = MadeFrameReport(Fraction(0), 33.0, 0.95, None, None, 32.0, 0.95, 1.8)
    gaps = tuple(
        GapReport(
            p.gap.start, p.gap.stop, plan.slots[p.gap.start].time, p.gap.kind, p.action, p.reason,
            4, 4, 33.0 + i % 7, 0.95, frames=(frame, replace(frame, estimated_psnr=34.0 + i % 7)),
        )
        for i, p in enumerate(plan.gaps)
    )  # fmt: skip
    return plan, gaps


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(write_clip(tmp_path_factory.mktemp("info") / "clip.mkv", 3))


@pytest.mark.parametrize(
    ("n_gaps", "n_bytes", "side", "largest", "slowest"),
    [
        (20, 260_000, 640, 8e6, 2.0),
        pytest.param(100, 100_000, 480, 16e6, 4.0, marks=pytest.mark.exhaustive),
    ],
)
def test_many_gaps_open_quickly(
    visit: Open, info: VideoInfo, tmp_path: Path, n_gaps: int, n_bytes: int, side: int,
    largest: float, slowest: float,
) -> None:  # fmt: skip
    plan, gaps = make_plan(n_gaps)
    album = HeavyAlbum(n_gaps, n_bytes, side)
    assert 0.8 * n_bytes < album.n_bytes <= 1.1 * n_bytes
    report = FillReport(
        Path("clip.mkv"), Path("out.mkv"), 20 * n_gaps, 2 * n_gaps, 0, Fraction(25), gaps, 0, 0, (),
        "default", "cpu", None, False, Seconds(),
    )  # fmt: skip
    path = tmp_path / "page.html"
    text = render_fill(report, info=info, plan=plan, album=album)  # type: ignore[arg-type]
    path.write_text(text, encoding="utf-8")
    assert path.stat().st_size < largest
    for _ in range(3):  # the machine may be busy: one quick opening shows that it can be done
        page = visit(path)
        took = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
        if 0 < took < slowest:
            break
    assert 0 < took < slowest
    assert page.locator(".gap").count() == n_gaps
    took = page.evaluate(
        """async last => {
            const began = performance.now();
            location.hash = last;
            document.querySelector("[data-order]").value = "worst";
            document.querySelector("[data-order]").dispatchEvent(new Event("change"));
            await new Promise(next => requestAnimationFrame(() => requestAnimationFrame(next)));
            return (performance.now() - began) / 1000;
        }""",
        f"#gap-{n_gaps}",
    )
    assert took < slowest
    wait_until(
        page,
        f"[...document.querySelectorAll('#gap-{n_gaps} .stage img')].some(e => e.naturalWidth)",
    )
