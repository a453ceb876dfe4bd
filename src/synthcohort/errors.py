"""The error tree. Everything a user can cause is an `InputError`; it becomes one line and exit status 2.

SynthcohortError            exit status 1, one line
├── InputError              exit status 2: rule, offender, next step
│   ├── UnknownName         no plugin of that name ("Did you mean ...?")
│   ├── BadOption           an option is unknown or of the wrong type
│   ├── BadSource           a download does not have the layout, or a file in it cannot be read
│   ├── NotACohort          the folder is no cohort, or a damaged one
│   ├── NotAnEvaluation     the folder is no EVAL, or a damaged one
│   ├── Mismatch            two things that may not be combined (other pixels, other config)
│   └── BadOutput           the output exists, cannot be written, or the disk is full
├── MissingDependency       a package that a plugin needs is absent; names it
├── WorkerKilled            a process that worked for this one was killed
└── Diverged                training produced a non-finite loss
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


class SynthcohortError(Exception):
    """Base of all errors raised on purpose; `str()` is one line."""

    exit_status = 1


class InputError(SynthcohortError):
    """The user's input is wrong.

    Args:
        rule: What must hold, e.g. "A mask has the size of its image".
        offender: What breaks it, e.g. "p01.png is 64x64, its mask 32x32".
        next_step: What to do now.
    """

    exit_status = 2

    def __init__(self, rule: str, offender: str, next_step: str) -> None:
        self.rule, self.offender, self.next_step = rule, offender, next_step
        end = "" if next_step.endswith("?") else "."
        super().__init__(" ".join(f"{rule}: {offender}. {next_step}{end}".split()))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Return how to make it again: workers send their errors to the process that started them."""
        return type(self), (self.rule, self.offender, self.next_step)


class UnknownName(InputError):
    """No plugin has the name."""


class BadOption(InputError):
    """An option is unknown or its value has the wrong type."""


class BadSource(InputError):
    """A download does not have the expected layout."""


class NotACohort(InputError):
    """A folder is no cohort, or a damaged one."""


class NotAnEvaluation(InputError):
    """A folder is no EVAL, or a damaged one."""


class Mismatch(InputError):
    """Two inputs may not be combined."""


class BadOutput(InputError):
    """An output cannot be written."""


class MissingDependency(SynthcohortError):
    """An optional dependency is absent."""


class WorkerKilled(SynthcohortError):
    """A process that worked for this one was killed."""


class Diverged(SynthcohortError):
    """Training produced a loss or gradient that is not finite."""


_DISK = {
    errno.ENOSPC: "No space left on the disk",
    errno.EDQUOT: "The disk quota is used up",
    errno.EACCES: "The folder may not be written",
    errno.EPERM: "The folder may not be written",
    errno.EROFS: "The file system is read-only",
    errno.ENOTDIR: "A part of the path is a file, not a folder",
    errno.EEXIST: "A file of that name is in the way",
    errno.EISDIR: "A folder of that name is in the way",
    errno.EFBIG: "The file system does not take files this large",
}


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a failure of the disk inside the block into one `BadOutput` line that names `out`.

    Raises:
        BadOutput: The disk is full, read-only or not permitted.
    """
    try:
        yield
    except OSError as error:
        # zlib and pyarrow raise plain OSError with the errno in the text only.
        code = error.errno or (errno.ENOSPC if "No space left" in str(error) else 0)
        if code not in _DISK:
            raise
        raise BadOutput("The output must be writable", f"{_DISK[code]} at {out}", _next_step(code)) from error


def _next_step(code: int) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space and run the same command again"
    return "Choose another --out"
