from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from synthcohort.cli import main
from synthcohort.errors import BadOption, BadOutput, InputError
from synthcohort.gates import DECLARATIONS, LIMITS, parse_card, read_card, template, write_template

DECLARED = """
[declarations]
release = "images"
adversary = "somebody with other scans of the patients"
intended_use = "teaching"
evaluated_by = "the data office"
"""


def test_the_template_is_valid_once_it_is_filled_in_and_holds_the_defaults() -> None:
    with pytest.raises(BadOption, match="release is declared before the evaluation"):
        parse_card(template(), "card.toml")
    filled = template()
    for key in DECLARATIONS:
        filled = filled.replace(f'{key} = ""', f'{key} = "images"')
    card = parse_card(filled, "card.toml")
    assert card.limits == {key: limit.default for key, limit in LIMITS.items()}
    assert (card.primary, card.setting) == ("any", "quick")


def test_lines_left_out_are_the_defaults_and_false_is_no_line() -> None:
    card = parse_card(DECLARED + "[lines]\nusefulness_loss = 0.02\nadded_value = false\n", "card.toml")
    assert card.limits["usefulness_loss"] == 0.02
    assert card.limits["added_value"] is None
    assert card.limits["copies_bound"] == 0.01


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_bytes(DECLARED.encode())
    assert read_card(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("release = ", "A card file is TOML"),
        (DECLARED.replace('"teaching"', '""'), "intended_use is declared before the evaluation"),
        (DECLARED.replace('"teaching"', "3"), "intended_use is a text"),
        (DECLARED.replace('"images"', '"all"'), "release is one of a few words.*images and weights"),
        (DECLARED.replace("teaching", "x" * 301), "intended_use has at most 300 characters"),
        (DECLARED + "[lines]\nusefulness_los = 1\n", "Did you mean 'usefulness_loss'"),
        (DECLARED + "[lines]\nusefulness_loss = true\n", "usefulness_loss is a number from 0 to 1, or false"),
        (DECLARED + "[lines]\nusefulness_loss = nan\n", "usefulness_loss is a number"),
        (DECLARED + "[lines]\ncopy_sensitivity = 95\n", "The default is 0.95"),
        (DECLARED + '[task]\nsetting = "slow"\n', "setting is one of a few words"),
        (DECLARED + "[gates]\n", "'gates' in card.toml"),
        ("lines = 3\n", r"\[lines\] is a table|release is declared"),
    ],
)
def test_a_wrong_card_file_is_one_line_with_the_key_and_a_next_step(text: str, said: str) -> None:
    with pytest.raises(BadOption, match=said) as caught:
        parse_card(text, "card.toml")
    assert "\n" not in str(caught.value)
    assert caught.value.next_step


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(InputError, match="A card file is a text that can be read"):
            read_card(path)


def test_a_card_file_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "card.toml"
    assert main(["card", str(path)]) == 0
    assert path.read_text() == template()
    with pytest.raises(BadOutput, match="not written over"):
        write_template(path)
    assert main(["card", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
