"""Changes of Python files below a folder are noticed, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_bunws._cli import source_watch
from trio_bunws._cli.source_watch import SourceWatch, snapshot


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_watch, "PERIOD", 0.001)


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return [folder / name for name in names]


async def test_files_changed_made_and_removed_are_told(tmp_path: Path) -> None:
    one, two = files(tmp_path, "one.py", "inner/two.py")
    watch = SourceWatch(tmp_path)
    one.write_text("changed")
    assert await watch.changed() == [one]
    two.unlink()
    assert await watch.changed() == [two]
    (three,) = files(tmp_path, "new/three.py")
    assert await watch.changed() == [three]


async def test_several_changes_are_one(tmp_path: Path) -> None:
    watch = SourceWatch(tmp_path)
    both = files(tmp_path, "a.py", "b.py")
    assert await watch.changed() == both


def test_only_python_files_of_the_application_are_looked_at(tmp_path: Path) -> None:
    files(tmp_path, "one.py", "text.txt", ".venv/x.py", "site-packages/y.py", "__pycache__/z.py")
    assert list(snapshot(tmp_path)) == [tmp_path / "one.py"]


async def test_looking_again_and_again_goes_on_until_there_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tmp_path / "one.py"
    looks = iter([{}, {}, {}, {one: (1, 1)}])
    monkeypatch.setattr(source_watch, "snapshot", lambda _folder: next(looks))
    assert await SourceWatch(tmp_path).changed() == [one]


def test_a_file_that_goes_while_it_looks_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = files(tmp_path, "one.py", "two.py")
    stat = Path.stat

    def gone(path: Path, *, follow_symlinks: bool = True) -> object:
        if path == one:
            raise FileNotFoundError
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", gone)
    assert list(snapshot(tmp_path)) == [two]
