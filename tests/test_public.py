"""What the outside sees: the functions of the package, the commands in the documents, the tutorial."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import synthcohort
from synthcohort import cli, runs

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def test_every_public_name_is_there_and_documented() -> None:
    for name in synthcohort.__all__:
        found = getattr(synthcohort, name)
        assert name == "__version__" or found.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = synthcohort.nothing


def test_a_verb_stays_a_function_when_its_module_is_imported() -> None:
    code = "import synthcohort, inspect; from synthcohort.prepare import prepare; import synthcohort.report; "
    code += "from synthcohort import report; print(synthcohort.prepare is prepare, inspect.isfunction(report))"
    environment = {**os.environ, "PYTHONPATH": str(Path(synthcohort.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["True", "True"]


def test_there_is_one_version() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{synthcohort.__version__}"' in text
    assert f"## [{synthcohort.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if "synthcohort" not in runs.versions():
        pytest.skip("synthcohort is not installed, only imported from its folder: run `make setup`")
    assert runs.versions()["synthcohort"] == synthcohort.__version__


def _commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("    synthcohort "):
                yield page.name, line.strip()


@pytest.mark.parametrize(("page", "line"), list(_commands()))
def test_every_command_in_the_documents_parses(page: str, line: str) -> None:
    command, arguments = typer.main.get_command(cli.app), shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    with command.make_context(page, arguments):
        pass


def test_every_verb_has_a_line_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    for verb in typer.main.get_command(cli.app).commands:
        assert f"`synthcohort {verb}" in text, verb


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))
    tutorial = runpy.run_path(str(ROOT / "docs" / "tutorials" / "01_first_cohort.py"))
    tiny = {"patients": 10, "size": 16, "images_seen": 128, "width": 16, "task_images_seen": 64}
    page = tutorial["main"](tmp_path / "first", **tiny)
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")
    assert "ceiling" in capsys.readouterr().out
    assert (tmp_path / "first" / "report.json").exists()
