"""Registries that are folders, and options that are signatures."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal

import pytest

from synthcohort import plugins
from synthcohort.errors import BadOption, MissingDependency, UnknownName


class Plugin:
    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        width: int = 64,
        rate: float = 1e-3,
        augment: bool = False,
        loss: Literal["hinge", "wgan"] = "hinge",
        betas: tuple[float, ...] = (0.0, 0.9),
        limit: int | None = None,
        file: Path | None = None,
        name: str = "x",
        verbose: bool = True,
    ) -> None:
        """Only the signature is used."""


def resolve(*given: str) -> dict[str, Any]:
    return plugins.resolve(Plugin, given, reserved=("verbose",))


def test_options_are_the_keyword_only_parameters_with_a_default() -> None:
    found = plugins.options(Plugin, reserved=("verbose",))
    assert list(found) == ["width", "rate", "augment", "loss", "betas", "limit", "file", "name"]
    assert found["width"] == plugins.Option("width", int, 64)


def test_without_settings_the_defaults_come_back() -> None:
    assert resolve() == {
        "width": 64,
        "rate": 1e-3,
        "augment": False,
        "loss": "hinge",
        "betas": (0.0, 0.9),
        "limit": None,
        "file": None,
        "name": "x",
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("width=32", "width", 32),
        ("rate=2e-4", "rate", 2e-4),
        ("rate=1", "rate", 1.0),
        ("augment=true", "augment", True),
        ("augment=off", "augment", False),
        ("loss=wgan", "loss", "wgan"),
        ("betas=0.5,0.999", "betas", (0.5, 0.999)),
        ("betas=1", "betas", (1.0,)),
        ("limit=7", "limit", 7),
        ("limit=none", "limit", None),
        ("file=a/b=c", "file", Path("a/b=c")),
        ("name=", "name", ""),
    ],
)
def test_texts_become_values_of_the_declared_type(text: str, name: str, value: object) -> None:
    found = resolve(text)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("width=wide", "'width' takes int"),
        ("width=1.5", "'width' takes int"),
        ("rate=fast", "'rate' takes float"),
        ("augment=maybe", "'augment' takes bool"),
        ("loss=hing", "'hing'"),
        ("betas=a,b", "'betas'"),
        ("limit=x", "int or none"),
        ("widht=3", "Did you mean 'width'?"),
        ("zzz=3", "Choose from"),
        ("verbose=false", "must be known"),
        ("shape=1", "must be known"),
        ("width", "key=value"),
        ("=3", "key=value"),
    ],
)
def test_a_wrong_setting_is_one_line(text: str, part: str) -> None:
    with pytest.raises(BadOption) as caught:
        resolve(text)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_from_a_mapping_are_checked_too() -> None:
    assert plugins.resolve(Plugin, {"width": 8, "betas": [0.1, 0.2]})["betas"] == (0.1, 0.2)
    for given in ({"width": 1.0}, {"width": True}, {"rate": True}, {"loss": None}):
        with pytest.raises(BadOption):
            plugins.resolve(Plugin, given)


def test_dashes_are_as_good_as_underscores() -> None:
    def plugin(*, images_seen: int = 1) -> int:
        return images_seen

    assert plugins.resolve(plugin, ["images-seen=5"]) == {"images_seen": 5}


@pytest.mark.parametrize("kind", sorted(plugins.KINDS))
def test_every_listed_name_can_be_found(kind: str) -> None:
    for name in plugins.names(kind):
        assert callable(plugins.find(kind, name)), name


def test_the_house_has_what_the_commands_lean_on() -> None:
    assert {"flow", "hinge", "dcgan"} <= set(plugins.names("generators"))
    assert "acdc" in plugins.names("sources")


def test_an_unknown_name_proposes_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'flow'\?") as caught:
        plugins.find("generators", "flwo")
    assert str(caught.value).endswith("'flow'?")
    with pytest.raises(UnknownName, match=r"Choose from .*flow"):
        plugins.find("generators", "zzzzzz")


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module outside the package that defines a plugin."""
    name = "a_generator_from_outside"
    (tmp_path / f"{name}.py").write_text("class Mine:\n    sample = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_third_party_plugs_in_by_module_and_name(outsider: str) -> None:
    assert plugins.find("generators", f"{outsider}:Mine").__name__ == "Mine"


def test_a_wrong_third_party_name_is_one_line(outsider: str) -> None:
    with pytest.raises(UnknownName, match="must define Yours"):
        plugins.find("generators", f"{outsider}:Yours")
    with pytest.raises(UnknownName, match="Check the module's path"):
        plugins.find("generators", "no_such_package.at_all:Mine")


def test_a_missing_optional_package_breaks_one_plugin_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_plugin.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependency, match="needs the package a_package_nobody_has"):
        plugins.find("generators", "needy_plugin:Mine")


def test_a_family_file_lists_its_names_and_private_files_have_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "generators"
    folder.mkdir()
    (folder / "gans.py").write_text("import this_fails\nNAMES = {'hinge': 'Hinge', 'dcgan': 'Dcgan'}\n")
    (folder / "flow.py").write_text("raise RuntimeError\n")
    (folder / "_parts.py").write_text("")
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "plugins.py"))
    assert plugins.names("generators") == ["dcgan", "flow", "hinge"]


def test_listing_imports_no_plugin() -> None:
    code = """
        import sys
        from synthcohort import plugins
        found = [name for kind in plugins.KINDS for name in plugins.names(kind)]
        print(*(m for m in sys.modules if m.startswith("synthcohort.") and m.count(".") > 1))
        assert found
    """
    source = str(Path(plugins.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": source, "PATH": ""},
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("text", ["1,2", "[1, 2]", "(1, 2)"])
def test_a_list_is_read_in_every_form_that_is_printed(text):
    def plugin(*, multipliers: tuple[int, ...] = (1,)) -> None:
        """Take a list."""

    assert plugins.resolve(plugin, [f"multipliers={text}"]) == {"multipliers": (1, 2)}


def test_an_option_goes_to_every_plugin_that_has_it() -> None:
    found = {name: plugins.find("generators", name) for name in ("gaussian", "memoriser")}
    chosen = plugins.resolve_each(found, ["components=3", "code=7"], reserved=("shape", "labels", "mask_classes"))
    assert chosen["gaussian"]["components"] == 3
    assert chosen["memoriser"]["code"] == 7
    assert "code" not in chosen["gaussian"]


def test_an_option_that_no_plugin_has_is_refused() -> None:
    found = {"memoriser": plugins.find("generators", "memoriser")}
    with pytest.raises(BadOption, match=r"'codee'.*Did you mean 'code'"):
        plugins.resolve_each(found, ["codee=3"], reserved=("shape", "labels", "mask_classes"))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan")])
def test_numbers_are_finite(value: Any) -> None:
    def plugin(*, rate: float = 0.1) -> None: ...

    with pytest.raises(BadOption, match="'rate' takes float"):
        plugins.resolve(plugin, {"rate": value})
