from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

import framepred
from framepred.installation import describe_installation
from framepred.packaged import list_models

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", framepred.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(framepred, name)
    assert getattr(framepred, name) is value
    assert name in dir(framepred)
    if callable(value):
        assert value.__name__ == name
        assert value.__doc__


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'utils'"):
        _ = framepred.utils  # type: ignore[attr-defined]


def test_a_function_never_hides_a_module() -> None:
    modules = {path.stem for path in (ROOT / "framepred").glob("*.py")}
    assert not modules & set(framepred.__all__)


def test_all_errors_have_one_root() -> None:
    errors = [getattr(framepred, name) for name in framepred.__all__ if name.endswith("Error")]
    assert len(errors) == 7
    assert all(issubclass(error, framepred.FramepredError) for error in errors)


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert framepred.__version__ == project["version"]


def test_installation_is_described() -> None:
    report = describe_installation()
    assert report.version == framepred.__version__
    assert any(device.startswith("cpu") for device in report.devices)
    assert set(report.libraries) >= {"torch", "av"}
    for model in list_models():
        assert model.path.stat().st_size == model.bytes


@pytest.mark.parametrize("name", framepred.__all__)
def test_every_public_function_is_typed(name: str) -> None:
    """Every parameter and every result has a type, and every parameter that may be left out."""
    value = getattr(framepred, name)
    functions = [value] if inspect.isfunction(value) else []
    if inspect.isclass(value):
        functions = [
            member
            for key, member in vars(value).items()
            if inspect.isfunction(member) and not key.startswith("_")
        ]
        assert all(function.__doc__ for function in functions if name == "Predictor")
    for function in functions:
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, function
        for parameter in list(signature.parameters.values()):
            typed = parameter.annotation is not inspect.Parameter.empty
            assert typed or parameter.name in ("self", "cls"), (function, parameter)
