"""Commands, options and links as the pages of the documentation show them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One command line, without the name of the program."""

    page: str
    program: str  # framepred or make
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join((self.program, *self.words))}"


def list_pages() -> list[Path]:
    """All Markdown files of the project."""
    files = [ROOT / "README.md", ROOT / "samples" / "README.md"]
    files += (ROOT / "docs").glob("*.md")
    files += (ROOT / "framepred" / "weights").glob("*.md")
    return sorted(files)


def find_code(text: str) -> tuple[list[str], list[str]]:
    """Lines of the fenced (or indented) blocks of commands, and the spans within the prose."""
    blocks = [block for language, block in _FENCE.findall(text) if language in ("", "sh")]
    rest = _FENCE.sub("", text)
    blocks += re.findall(r"^(?: {4}.*\n)+", rest, re.MULTILINE)
    lines = [
        line.strip()
        for block in blocks
        for line in re.sub(r"\\\n", " ", block).splitlines()
        if line.strip()
    ]
    spans = [" ".join(span.split()).replace("\\|", "|") for span in _SPAN.findall(rest)]
    return lines, spans


def find_commands(text: str, page: str = "page") -> list[Command]:
    """Every ``framepred ...`` and ``make ...``; a line that says ``...`` is not a whole one."""
    lines, spans = find_code(text)
    commands = []
    for line in (*lines, *spans):
        if "framepred" not in line and not line.startswith("make "):
            continue
        if line in spans and line.startswith(("framepred/", "framepred.")):
            continue
        for words in _split(line.removeprefix("$ ")):
            if words[0] in ("torchrun",) and "framepred" in words:
                words = words[words.index("framepred") :]
            if len(words) > 1 and words[0] in ("framepred", "make") and "..." not in words:
                commands.append(Command(page, words[0], tuple(words[1:])))
    return list(dict.fromkeys(commands))


def find_options(text: str) -> set[str]:
    """Every ``--option`` in code."""
    lines, spans = find_code(text)
    return {option for code in (*lines, *spans) for option in _OPTION.findall(code)}


def find_links(text: str) -> list[str]:
    """Targets of links to other pages of the project."""
    prose = _SPAN.sub("", _FENCE.sub("", text))
    return [link for link in _LINK.findall(prose) if "://" not in link]


def find_anchors(text: str) -> set[str]:
    """What headings can be linked to as."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def read_tables(text: str) -> dict[str, list[list[str]]]:
    """Rows of all tables by their first cell, without the marks of bold."""
    rows: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("|"):
            name, *cells = [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]
            rows.setdefault(name, []).append(cells)
    return rows


def _split(line: str) -> list[list[str]]:
    """Words of each program of a pipeline, without what the shell is told."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # prose
        return []
    programs: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("|;&"):
            programs.append([])
        else:
            programs[-1].append(word)
    ends = [next((i for i, word in enumerate(p) if set(word) <= set("<>")), None) for p in programs]
    return [p[:end] for p, end in zip(programs, ends, strict=True) if p[:end]]
