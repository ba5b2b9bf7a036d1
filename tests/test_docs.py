"""The pages show what is there: every command parses, many run, links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
import typer.main
from blending import BlendPredictor
from manual import (
    ROOT,
    find_anchors,
    find_commands,
    find_links,
    find_options,
    list_pages,
    read_tables,
)
from PIL import Image
from synthetic import make_frames, write_clip, write_gappy_clip
from typer.testing import CliRunner

import framepred.predictor
from framepred.cli import app

PAGES = list_pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS = [
    command
    for page, name in zip(PAGES, NAMES, strict=True)
    for command in find_commands(page.read_text(encoding="utf-8"), name)
]
SHELL_OPTIONS = ("--install-completion", "--show-completion")
# Options of torchrun and of the samples' own scripts.
ELSEWHERE = {"--cut", "--nproc-per-node", "--every", "--only", "--misses", "--codecs", "--encode"}

# What a command calls in the end.
_CALLED = (
    "framepred.benchmark.benchmark",
    "framepred.operations.count_operations",
    "framepred.comparison.compare",
    "framepred.evaluation.evaluate",
    "framepred.filling.fill_gaps",
    "framepred.forecasting.forecast",
    "framepred.futures.draw_futures",
    "framepred.installation.describe_installation",
    "framepred.interpolation.interpolate",
    "framepred.moving_mnist.evaluate",
    "framepred.moving_mnist.train",
    "framepred.scanning.scan",
    "framepred.stream_options.run_stream",
    "framepred.training.train",
)


def _list_subcommands() -> dict[str, click.Command]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


class ReachedError(Exception):
    """The command line was understood."""


def _reach(*_: object, **__: object) -> NoReturn:
    raise ReachedError


def _reach_training(*_: object, config: Any, **__: object) -> NoReturn:
    config.check()
    raise ReachedError


Parse = Callable[[tuple[str, ...]], None]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Parse:
    """Run a command up to the call of the library; fail where it does not come so far."""
    for folder in ("repaired", "pages"):
        (tmp_path / folder).mkdir()
    (tmp_path / "gaps.txt").write_text("2:4\n")
    (tmp_path / "settings.toml").write_text("[fill-gaps]\nmax-gap = 8\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in _CALLED:
        monkeypatch.setattr(name, _reach_training if name.endswith(".train") else _reach)
    for name in (
        "framepred.video.probe",
        "framepred.cli.check_output",
        "framepred.studies.check_output",
    ):
        monkeypatch.setattr(name, lambda *_, **__: None)
    monkeypatch.setattr("framepred.views.Views.check", lambda *_, **__: None)
    monkeypatch.setattr(framepred.predictor.Predictor, "load", lambda *_, **__: BlendPredictor())

    def invoke(words: tuple[str, ...]) -> None:
        answer = CliRunner().invoke(app, list(words))
        if not isinstance(answer.exception, ReachedError):
            raise AssertionError(f"exit code {answer.exit_code}: {answer.output}")

    return invoke


def test_every_command_of_the_pages_is_understood(parse: Parse) -> None:
    ours = [command for command in COMMANDS if command.program == "framepred"]
    assert len(ours) > 60
    wrong = []
    for command in ours:
        if len(command.words) == 1 or command.words[0] == "COMMAND":
            assert command.words[0] in {
                *_list_subcommands(),
                "COMMAND",
                "--help",
                *SHELL_OPTIONS,
            }, command
            continue
        try:
            parse(command.words)
        except AssertionError as error:
            wrong.append(f"{command}\n{error}")
    assert not wrong, "\n".join(wrong)


def test_every_subcommand_is_shown() -> None:
    assert {command.words[0] for command in COMMANDS} >= set(_list_subcommands())


@pytest.mark.parametrize(
    "line",
    [
        "framepred fill-gaps clip.mp4 --no-such-option",
        "framepred fill-gaps clip.mp4 --sound loud",
        "framepred fill-gaps clip.mp4 --gap 5:3",
        "framepred fill-gaps clip.mp4 --detect missing,lost",
        "framepred forecast clip.mp4 --frames 0",
        "framepred train clips/ --out runs/x --steps 5 --loss laplacian,nonsense",
        "framepred repair clip.mp4",
    ],
)
def test_what_is_wrong_in_a_page_fails(parse: Parse, line: str) -> None:
    for text in (
        f"```\n{line}\n```\n",
        f"As `{line}` says\n",
        f"    {line}\n",
        f"| a | `{line}` |",
    ):
        (command,) = find_commands(text)
        with pytest.raises(AssertionError, match=r"exit code [12]"):
            parse(command.words)


def test_commands_are_found_in_pipelines() -> None:
    text = "```\n$ a | framepred scan - \\\n  --json -  # all\nframepred info < x > y\n```\n"
    assert [command.words for command in find_commands(text)] == [
        ("scan", "-", "--json", "-"),
        ("info",),
    ]
    assert find_commands("`framepred/model.py`, `framepred scan ...` and `framepred`") == []


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = {command.words[0] for command in COMMANDS if command.program == "make"}
    assert {"demo", "test", "docs"} <= shown <= targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_that_pages_name_are_there(page: Path) -> None:
    known = {
        option
        for command in _list_subcommands().values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {option for each in typer.main.get_command(app).params for option in each.opts}
    known |= {"--help", *SHELL_OPTIONS, *ELSEWHERE}
    assert find_options(page.read_text(encoding="utf-8")) <= known


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    for link in find_links(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        if anchor:
            assert anchor in find_anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf": {re.escape(page.name)}$", menu, re.MULTILINE), page.name


def test_figures_of_the_readme_are_those_of_the_page() -> None:
    whole = read_tables((ROOT / "docs" / "scores.md").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    short = read_tables(text[text.index("## How good it is") :])
    both = [name for name in short.keys() & whole.keys() if name.strip("-")]
    assert len(both) >= 3
    for name in both:
        assert short[name][: len(whole[name])] == whole[name], name


def test_messages_of_the_troubleshooting_page_are_in_the_package() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(shown) > 40
    said = _list_messages()
    for message in shown:
        parts = [part for part in re.split("…", message) if part.strip()]
        assert any(all(part in each for part in parts) for each in said), message


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for name in ("mkdocs", "mkdocstrings"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert all((tmp_path / name / "index.html").is_file() for name in names)
    reference = (tmp_path / "python" / "index.html").read_text(encoding="utf-8")
    assert "Make the frames that a video lacks" in reference
    assert "<p>::</p>" not in reference
    assert "http" not in re.sub(r'href="[^"]*"', "", _find_loaded(reference))


# Commands that run: on small media, with a predictor that needs no network.

_MAKES = ("fill-gaps", "forecast", "interpolate")


def _name_command(words: tuple[str, ...]) -> str:
    """The command, behind the options that hold for all."""
    return next((word for word in words if word in _list_subcommands()), "")


_NOT_HERE = {
    "--adapt": "needs the network, and minutes",
    "--model": "needs weights of one's own",
    "--samples": "needs the network",
}
RUN = [
    words
    for words in dict.fromkeys(each.words for each in COMMANDS if each.program == "framepred")
    if _name_command(words) in (*_MAKES, "scan", "compare", "info")
    and len(words) > 1  # scan and fill-gaps by name alone are mentioned, not shown
    and "samples/media/crossing-holes.mkv" not in words  # the samples' own test
    and words[1] != "-"  # a pipe
    and not _NOT_HERE.keys() & set(words)
]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages' commands are given, small."""
    folder = tmp_path_factory.mktemp("media")
    frames = make_frames(132, width=64, height=48)
    write_gappy_clip(folder / "clip.mp4", 132, [8, 15, 16], audio=True)
    write_gappy_clip(folder / "other.mp4", 12, [5])
    write_gappy_clip(folder / "in.mkv", 12, [5], codec="ffv1")
    write_gappy_clip(folder / "holiday.mp4", 24, [10, 12, 13], audio=True)
    write_clip(folder / "original.mp4", frames)
    write_clip(folder / "repaired.mp4", frames[:20])
    write_clip(folder / "half.mp4", frames[:24:2], rate=Fraction(25, 2))
    (folder / "gaps.txt").write_text("20:22  # by hand\n")
    (folder / "settings.toml").write_text("[fill-gaps]\nmax-gap = 8\n")
    for name in ("repaired", "pages", "shot"):
        (folder / name).mkdir()
    for number in (1, 2, 3, 4, 6, 7, 8, 9):
        picture = Image.fromarray(frames[number])
        picture.save(folder / "shot" / f"{number:04}.png")
        picture.save(folder / f"frame_{number:05}.png")
    return folder


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_commands_of_the_pages_run(
    words: tuple[str, ...], media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(media)
    monkeypatch.setattr(framepred.predictor.Predictor, "load", lambda *_, **__: BlendPredictor())
    may_exist = ("-y",) if _name_command(words) in _MAKES else ()
    answer = CliRunner().invoke(app, [*words, *may_exist])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output


def test_most_of_the_commands_run() -> None:
    assert len(RUN) > 35


def _list_messages() -> set[str]:
    """All texts in the package, with … for what is put into them."""
    said = set()
    for path in (ROOT / "framepred").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = node.values
                said.add(
                    "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
    return said


def _find_loaded(html: str) -> str:
    """The tags by which a page loads scripts, styles and pictures."""
    return " ".join(re.findall(r"<(?:script|link|img)\b[^>]*>", html))
