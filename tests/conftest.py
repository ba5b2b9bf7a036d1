"""What several test modules share: awkward files where they lie beside the project, ffprobe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr by itself, from its first use on
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch beside other work, as in cli.run

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def awkward() -> Path:
    """The folder of real files that break video tools."""
    folder = SHARED / "awkward"
    if not folder.is_dir():
        pytest.skip("the folder of awkward files is not here")
    return folder


@pytest.fixture(scope="session")
def ffprobe() -> Callable[[Path], dict[str, Any]]:
    """An independent reader: everything that ffprobe says about a file."""
    program = shutil.which("ffprobe")
    if program is None:
        pytest.skip("ffprobe is not installed")

    def run(path: Path) -> dict[str, Any]:
        done = subprocess.run(
            [
                *(program, "-v", "error", "-show_format", "-show_streams", "-show_chapters"),
                *("-count_frames", "-of", "json", str(path)),
            ],
            check=True,
            capture_output=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """FFmpeg's own program, where its ffprobe is too."""
    program = shutil.which("ffmpeg")
    if program is None or shutil.which("ffprobe") is None:
        pytest.skip("ffmpeg and ffprobe are not installed")
    return program


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser, which asks no network for anything by itself."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=program,
            args=[
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                "--disable-component-update",
            ],
        )


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a file; whatever the page logs, throws or asks for fails the test in the end."""
    contexts = []
    wrong: list[str] = []

    def run(path: Path, *, width: int = 1100, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.split("#")[0] == path.as_uri() or request.url.startswith("data:")
                else wrong.append(f"request: {request.url}")
            ),
        )
        page.goto(path.as_uri())
        return page

    yield run
    for context in contexts:
        context.close()
    assert wrong == []
