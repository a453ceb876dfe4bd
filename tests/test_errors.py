"""The error tree: one line each, the right exit status, and disk failures turned into it."""

from __future__ import annotations

import errno
import inspect
from pathlib import Path

import pytest

from synthcohort import errors


def test_an_input_error_is_one_line_of_rule_offender_and_next_step() -> None:
    error = errors.InputError("A mask has\nthe size of its image", "p01.png  is 64x64", "Resize it")
    assert str(error) == "A mask has the size of its image: p01.png is 64x64. Resize it."
    assert (error.offender, error.exit_status) == ("p01.png  is 64x64", 2)


def test_every_error_is_in_the_tree_and_only_input_errors_exit_with_2() -> None:
    found = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(found) >= 9
    for each in found:
        assert issubclass(each, errors.SynthcohortError)
        assert each.exit_status == (2 if issubclass(each, errors.InputError) else 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EFBIG])
def test_a_failing_disk_becomes_one_line_that_names_the_output(code: int) -> None:
    with pytest.raises(errors.BadOutput, match="at cohort") as caught, errors.writing(Path("cohort")):
        raise OSError(code, "x")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_is_recognised_by_its_text_alone() -> None:
    with pytest.raises(errors.BadOutput, match="No space left"), errors.writing(Path("cohort")):
        raise OSError("[Errno 28] Error writing bytes to file. Detail: No space left on device")


def test_other_os_errors_pass_through() -> None:
    with pytest.raises(FileNotFoundError), errors.writing(Path("cohort")):
        Path("there is no such file").read_bytes()
