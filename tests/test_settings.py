from __future__ import annotations

from pathlib import Path

import pytest

from framepred.settings import SettingsError, check_settings, read_settings

COMMANDS = {
    "fill-gaps": {"max-gap": "max_gap", "gap": "gap", "lossless": "lossless"},
    "scan": {"max-gap": "max_gap"},
}


def test_our_own_file_goes_before_the_shared_one(tmp_path: Path) -> None:
    assert read_settings(tmp_path) is None
    shared = tmp_path / "pyproject.toml"
    shared.write_text('[project]\nname = "x"\n')
    assert read_settings(tmp_path) is None
    shared.write_text("[tool.framepred.scan]\nmax-gap = 3\n")
    assert read_settings(tmp_path) == (shared, {"scan": {"max-gap": 3}})
    own = tmp_path / "framepred.toml"
    own.write_text("[scan]\nmax-gap = 4\n")
    assert read_settings(tmp_path) == (own, {"scan": {"max-gap": 4}})
    assert read_settings(tmp_path, shared) == (shared, {"scan": {"max-gap": 3}})


@pytest.mark.parametrize("text", ["[scan", "\x00", "[scan]\nmax-gap = soon"])
def test_what_is_no_toml(tmp_path: Path, text: str) -> None:
    file = tmp_path / "framepred.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path, tmp_path / "absent.toml")


def test_settings_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "framepred.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(SettingsError, match="nested too deeply"):
        read_settings(tmp_path)


def test_options_become_parameters() -> None:
    tables = {"fill-gaps": {"max_gap": 3, "gap": ["1:2"], "lossless": True}, "scan": {"max-gap": 4}}
    assert check_settings(Path("x"), tables, COMMANDS) == {
        "fill-gaps": {"max_gap": 3, "gap": ["1:2"], "lossless": True},
        "scan": {"max_gap": 4},
    }


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"fill-gap": {}}, "no command 'fill-gap'; did you mean 'fill-gaps'?"),
        ({"scan": {"maxgap": 3}}, "has no 'maxgap'; did you mean 'max-gap'?"),
        ({"scan": 3}, "must be a table"),
        ({"scan": {"max-gap": {"a": 1}}}, "a number, a text"),
    ],
)
def test_what_nobody_understands(tables: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(Path("x.toml"), tables, COMMANDS)
    assert words in str(caught.value)
