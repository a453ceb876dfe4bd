"""The house plan, read from the imports: strictly lower layers, no cycles, files and functions of bearable size."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import synthcohort

PACKAGE = Path(synthcohort.__file__).parent

# Lowest first. A module imports modules of earlier rows only, and private files of its own folder.
ROWS = (
    ("errors", "types"),
    (
        "plugins",
        "runs",
        "progress",
        "devices",
        "parallel",
        "layouts",
        "statistics",
        "significance",
        "pictures",
        "figures",
        "_checks",
        "_files",
    ),
    ("_listing", "gates", "table_1", "claims"),
    ("cohort", "weights"),
    ("nets", "source", "dicom", "format"),
    ("sources", "phantoms", "generators", "tasks", "extractors", "metrics", "formats"),
    ("prepare", "train", "describe", "export", "privacy", "lineage", "catalogue", "withhold"),
    ("sample",),
    ("evaluate",),
    ("report", "doctor", "calibrate"),
    ("execute",),
    ("search",),
    ("studies", "reader"),
    ("demo",),
    ("_reader_serve_cli",),
    ("_studies_cli", "_cohorts_cli", "_reader_cli", "_search_cli"),
    ("cli",),
    ("__main__",),
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
PLUGIN_ROW = ROW_OF["sources"]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
LONG_FUNCTIONS = {"train.train"}
"""The training loop, which reads better in one piece."""


@dataclass(frozen=True)
class Import:
    """One imported module, as parts below the package, and the line it stands on."""

    target: tuple[str, ...]
    line: int
    typing_only: bool


def modules(root: Path) -> dict[tuple[str, ...], Path]:
    """Return module parts ("metrics", "frechet") -> file; a package's own parts stand for its __init__."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[parts[:-1] if parts[-1] == "__init__" else parts] = path
    return found


def imports(root: Path, module: tuple[str, ...], path: Path) -> Iterator[Import]:
    """Yield every import of the package's own modules, wherever in the file it stands."""
    known = modules(root)
    folder = module if path.name == "__init__.py" else module[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = folder[: len(folder) - node.level + 1]
            base = (*start, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                target = (*base, alias.name)
                yield Import(target if target in known else base, node.lineno, id(node) in hidden)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def layer_problems(root: Path) -> list[str]:
    """Return what breaks the layers, as file:line and the rule."""
    problems = []
    for module, path in modules(root).items():
        where = path.relative_to(root)
        if module and _row(module) is None:
            problems.append(f"{where}: '{module[0]}' has no place in the house plan")
            continue
        problems += [f"{where}:{line}: import the package's modules relatively" for line in _absolute(path)]
        for found in imports(root, module, path):
            if module and not _allowed(module, found.target):
                problems.append(f"{where}:{found.line}: may not import {'.'.join(found.target) or 'the package'}")
            if not module and not found.typing_only:
                problems.append(f"{where}:{found.line}: the package itself imports nothing")
    return problems


def _absolute(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        if any(name.split(".")[0] == "synthcohort" for name in names):
            yield node.lineno


def _row(module: tuple[str, ...]) -> float | None:
    if module[0].startswith("_") and module[0] not in ROW_OF:
        return PLUGIN_ROW + 0.5  # private files of the top folder serve the verbs
    return ROW_OF.get(module[0])


def _allowed(module: tuple[str, ...], target: tuple[str, ...]) -> bool:
    if not target:
        return True  # `from . import __version__`; the package itself imports nothing
    own, other = _row(module), _row(target)
    if own is None or other is None:
        return False
    if module[0] == target[0]:  # one folder: its private files; its __init__ may show its public ones
        return len(target) > 1 and (target[1].startswith("_") or len(module) == 1)
    if module[0].startswith("_") and target[0].startswith("_"):
        return True
    return other < own and not any(part.startswith("_") for part in target[1:])


def cycles(root: Path) -> list[str]:
    """Return the modules of one import cycle, or nothing; importing a.b runs a/__init__ too."""
    known = modules(root)
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for module, path in known.items():
        targets = {found.target for found in imports(root, module, path) if not found.typing_only}
        packages = {target[:1] for target in targets if target[:1] in known and target[:1] != module[:1]}
        graph[module] = {target for target in targets | packages if target and target != module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [".".join(part) for part in error.args[1]]
    return []


def size_problems(root: Path) -> list[str]:
    """Return the files and functions that are too long."""
    problems = []
    for module, path in modules(root).items():
        text = path.read_text(encoding="utf-8")
        name = ".".join(module)
        if text.count("\n") > MAX_FILE_LINES:
            problems.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES and f"{name}.{node.name}" not in LONG_FUNCTIONS:
                    problems.append(f"{name}.{node.name}: {lines} lines")
    return problems


def test_every_module_imports_strictly_lower_layers() -> None:
    assert layer_problems(PACKAGE) == []


def test_no_import_cycles() -> None:
    assert cycles(PACKAGE) == []


def test_sizes() -> None:
    assert size_problems(PACKAGE) == []


def test_modules_are_imported_by_name_only_where_the_registry_is() -> None:
    # import_module would slip past the tests above.
    users = [path.name for path in PACKAGE.rglob("*.py") if "import_module" in path.read_text(encoding="utf-8")]
    assert sorted(users) == ["__init__.py", "plugins.py"]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small sound package in the shape of ours."""
    files = {
        "__init__.py": "",
        "errors.py": "",
        "runs.py": "from .errors import E\n",
        "metrics/__init__.py": "",
        "metrics/_distance.py": "from ..runs import f\n",
        "metrics/frechet.py": "from ._distance import d\n",
        "sources/__init__.py": "",
        "sources/acdc.py": "def load():\n    from ..runs import f\n",
        "studies/__init__.py": "",
        "studies/compare.py": "from ..sample import sample\n",
        "sample.py": "from . import runs\n",
        "cli.py": "def demo():\n    from .studies.compare import compare\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert layer_problems(tmp_path) == []
    assert cycles(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("metrics/frechet.py", "from ..studies import compare\n", id="upwards"),
        pytest.param("metrics/frechet.py", "from ..studies.compare import compare\n", id="upwards, deep"),
        pytest.param("metrics/frechet.py", "from ..sources.acdc import load\n", id="to another L2 folder"),
        pytest.param("metrics/frechet.py", "from .. import sources\n", id="to another L2 folder, as a name"),
        pytest.param("metrics/frechet.py", "def f():\n    from ..sources import acdc\n", id="inside a function"),
        pytest.param("metrics/frechet.py", "import synthcohort.runs\n", id="absolute"),
        pytest.param("metrics/frechet.py", "from synthcohort import runs\n", id="absolute from"),
        pytest.param("metrics/kid.py", "from .frechet import f\n", id="a public file of its own folder"),
        pytest.param("sample.py", "from .metrics._distance import d\n", id="a private file of another folder"),
        pytest.param("runs.py", "from .cli import main\n", id="L1 to L5"),
        pytest.param("helpers.py", "", id="no place in the plan"),
        pytest.param("__init__.py", "from .runs import f\n", id="the package imports eagerly"),
    ],
)
def test_a_seeded_violation_is_caught(house: Path, file: str, text: str) -> None:
    (house / file).write_text(text)
    problems = layer_problems(house)
    assert len(problems) == 1, problems
    assert problems[0].startswith(file)


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param({"runs.py": "from .errors import E\n", "errors.py": "from .runs import f\n"}, id="two files"),
        pytest.param(
            {"metrics/__init__.py": "from .frechet import f\n", "runs.py": "from .metrics import f\n"}, id="init"
        ),
        pytest.param(
            {"metrics/__init__.py": "from ..runs import f\n", "runs.py": "from .metrics._distance import d\n"},
            id="through an __init__ that nobody names",
        ),
        pytest.param(
            {"metrics/__init__.py": "def f():\n    from .. import runs\n", "runs.py": "import x\n"}, id="none"
        ),
    ],
)
def test_a_seeded_cycle_is_caught(house: Path, texts: dict[str, str], request: pytest.FixtureRequest) -> None:
    for name, text in texts.items():
        (house / name).write_text(text)
    assert bool(cycles(house)) == ("none" not in request.node.callspec.id)


def test_seeded_sizes_are_caught(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * (MAX_FILE_LINES + 1))
    (tmp_path / "deep.py").write_text("def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES)
    assert [text.split(":")[0] for text in size_problems(tmp_path)] == ["deep.f", "long"]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)


LIGHT = (
    "synthcohort",
    "synthcohort.cli",
    "synthcohort.cohort",
    "synthcohort.prepare",
    "synthcohort.sources.acdc",
    "synthcohort.doctor",
    "synthcohort.describe",
)


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'ray', 'monai', 'torchvision'}} & set(sys.modules)))"
    assert _python(code).stdout.strip() == ""


def test_listing_plugins_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from synthcohort.cli import main; main(['list']); "
        "print(*{'torch', 'pandas', 'monai'} & set(sys.modules), file=sys.stderr)"
    )
    done = _python(code)
    assert done.stderr.strip() == ""
    assert "generators" in done.stdout
