"""The wheel and the source archive hold what an installation needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = {
    "framepred/py.typed",
    "framepred/weights/default.md",
    "framepred/weights/default.safetensors",
}
BUILD = """
from setuptools import build_meta
print(build_meta.build_sdist("dist"))
print(build_meta.build_wheel("dist"))
"""


@pytest.mark.slow
def test_wheel_and_source_archive(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(
        ROOT / "framepred", tree / "framepred", ignore=shutil.ignore_patterns("__pycache__")
    )
    pytest.importorskip("setuptools", minversion="77")
    subprocess.run([sys.executable, "-c", BUILD], cwd=tree, check=True, capture_output=True)
    modules = {f"framepred/{path.name}" for path in (ROOT / "framepred").glob("*.py")}

    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= NEEDED | modules
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests")]

    (source,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= NEEDED | modules | {"LICENSE", "README.md", "pyproject.toml"}

    # Installed apart from this tree, it finds its weights and its command.
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(installed), str(wheel)], check=True, capture_output=True)
    script = "import framepred, framepred.packaged as p; print(framepred.__file__, p.list_models())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(installed / "framepred" / "__init__.py") in done.stdout
    assert "default.safetensors" in done.stdout
    (commands,) = installed.glob("framepred-*.dist-info/entry_points.txt")
    assert "framepred = framepred.__main__:main" in commands.read_text()
