"""The direction of imports: a module may use only what stands below it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "framepred"

# From the bottom to the top; modules of one layer do not know each other.
LAYERS = (
    {"errors", "tones", "interrupts", "bits", "bool_coder", "vp8_tables", "workers"},
    {
        "phrases",
        "chroma",
        "vp8_headers",
        "vp9_headers",
        "parameter_sets",
        "rereading",
        "sequences",
        "series",
        "wheels",
        "pictures",
        "captions",
        "charts",
        "settings",
    },
    {
        "reports",
        "rhythm",
        "inputs",
        "matroska",
        "mp4_marks",
        "outputs",
        "memory",
        "relay",
        "metrics",
        "colour",
        "minterpolate",
    },
    {"leaps", "salvage", "vp8_modes", "grids", "planes", "replays"},
    {"warping"},
    {
        "motion",
        "scenes",
        "cells",
        "layers",
        "recall",
        "pace",
        "processes",
        "checksums",
        "fields",
        "rests",
        "vp8_tokens",
    },
    {"composition", "sights", "sides", "observations"},
    {"refinement"},
    {"timeline", "bitstream", "packaged", "losses", "model", "baselines", "detection"},
    {"chroma_location"},
    {"rates", "decisions", "ranges", "encoders"},
    {
        "unrolling",
        "repairs",
        "spacing",
        "tiles",
        "y4m",
        "compiling",
        "continuity",
        "verifier",
        "order_hints",
        "partitions",
        "wavefronts",
        "stamps",
    },
    {"stack"},
    {"drops", "tasks", "splicing", "smears", "insertion", "checkpoint", "protocol", "reader"},
    {"containers", "concealment"},
    {"container_headers"},
    {"writer", "pipes"},
    {"grafting"},
    {"video"},
    {"excerpts"},
    {
        "scanning",
        "predictor",
        "clips",
        "scoring",
        "stages",
        "testcard",
        "albums",
        "stills",
        "rereading",
    },
    {"learner", "operations", "digits", "pages", "galleries", "previews", "contacts"},
    {"adaptation", "session", "gap_pages", "forecast_pages"},
    {"views"},
    {"confidence", "journal"},
    {"accounts", "shown", "mending"},
    {"calibration"},
    {"interpolation"},
    {"filling", "forecasting", "training", "evaluation", "comparison", "installation"},
    {"benchmark", "futures", "moving_mnist", "streaming"},
    {"bars"},
    {"console", "options", "encoding_options", "plots", "scoreboards"},
    {"encoding_options"},
    {"study_options", "batches", "summaries", "findings"},
    {"study_values"},
    {"terminals"},
    {"studies"},
    {"stream_options"},
    {"cli"},
    {"__main__"},
)
STDLIB_ONLY = {
    "errors", "reports", "rhythm", "timeline", "tasks", "outputs", "memory", "relay", "bitstream",
    "splicing", "smears", "insertion", "checksums", "sequences", "rates", "y4m", "settings",
    "phrases", "decisions", "ranges", "continuity", "interrupts", "bool_coder", "vp8_tables",
    "vp8_headers", "vp9_headers", "vp8_modes", "vp8_tokens", "partitions", "workers",
    "parameter_sets", "rereading", "chroma_location",
}  # fmt: skip
# Who may import which big library.
OWNERS = {
    "av": {
        "previews", "stills", "inputs",
        "colour", "containers", "encoders", "minterpolate", "reader", "writer", "grafting", "pipes",
        "verifier", "wavefronts", "stamps", "excerpts",
    },
    "torch": {
        "sights", "sides",
        "warping",
        "motion", "scenes", "cells", "grids", "layers", "recall", "losses", "model", "checkpoint",
        "baselines", "predictor", "clips", "digits", "learner", "pace", "processes", "training",
        "evaluation", "albums", "spacing", "compiling",
        "installation", "benchmark", "adaptation", "unrolling", "moving_mnist", "stack", "session",
        "operations", "tiles", "composition", "refinement", "planes", "replays",
    },
    "scipy": {"leaps"},
    "skimage": {"metrics", "baselines", "salvage"},
    "safetensors": {"checkpoint"},
    "matplotlib": {"plots", "charts"},
    "PIL": {"pictures", "captions"},
    "jinja2": {"pages"},
    "rich": {"bars", "console", "cli"},
    "typer": {
        "cli", "options", "encoding_options", "study_options", "stream_options", "batches",
        "studies", "terminals", "study_values",
    },
}  # fmt: skip

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """(modules of the package, top-level names of other packages) that a file imports anywhere."""
    ours, theirs = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            theirs |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            theirs.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path.name}: the package is flat"
            if node.module is not None:
                ours.add(node.module)
            else:
                ours |= {alias.name for alias in node.names if not alias.name.startswith("__")}
    return ours, theirs


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    assert module in height, f"{module} is new: give it a place in LAYERS"
    ours, theirs = imports_of(PACKAGE / f"{module}.py")
    for other in ours:
        assert height[other] < height[module], f"{module} must not import {other}"
    for library, owners in OWNERS.items():
        assert library not in theirs or module in owners, f"{module} must not import {library}"
    if module in STDLIB_ONLY:
        assert theirs <= set(sys.stdlib_module_names) | {"__future__"}


def test_no_module_is_named_after_nothing_in_particular() -> None:
    assert not {"utils", "helpers", "common", "misc"} & set(MODULES)


HELP = """
import sys
sys.argv = ["framepred", *{arguments!r}]
from framepred.cli import run
try:
    run()
except SystemExit as leave:
    assert not leave.code, leave.code
heavy = {{"torch", "av", "numpy", "scipy", "skimage", "safetensors", "matplotlib"}}
loaded = heavy & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize("arguments", [["--help"], ["fill-gaps", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = HELP.format(arguments=arguments)
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_a_network_is_loaded_without_what_takes_seconds() -> None:
    script = """
import sys
import framepred.filling
from framepred.predictor import Predictor
Predictor.load("default", device="cpu")
slow = {"torch._dynamo", "torch._inductor", "scipy.stats"} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def measure_processor(*arguments: str) -> float:
    """Seconds of the processor, at best: other tests may be running beside this one."""
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run(
            [sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        after = os.times()
        spent.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    return min(spent)


def test_help_is_quick() -> None:
    """On any machine: beside what its libraries take to begin with."""
    libraries = measure_processor("-c", "import typer, rich.console, rich.table")
    assert measure_processor("-m", "framepred", "--help") < 3.5 * libraries
