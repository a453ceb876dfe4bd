"""Commands of a benchmark, each run once and timed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


class Steps:
    """Runs the command line and remembers what each command took, over interruptions too."""

    def __init__(self, work: Path) -> None:
        self._file, self._work = work / "seconds.json", work
        self.seconds: dict[str, float] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def run(self, *words: object, again: bool = False) -> float:
        """Run `synthcohort WORDS` and return the seconds of its first run, or with `again` of its second.

        A command that finished before is run again (it does nothing) and not timed.
        """
        command = [str(word) for word in words]
        started = time.monotonic()
        program = Path(sys.executable).with_name("synthcohort")
        subprocess.run([str(program), *command], check=True)
        shown = " ".join(["synthcohort", *(self._short(word) for word in command)])
        shown += " (again)" if again else ""
        self.seconds.setdefault(shown, round(time.monotonic() - started, 1))
        self._file.write_text(json.dumps(self.seconds))
        return self.seconds[shown]

    def _short(self, word: str) -> str:
        return word.replace(str(self._work) + "/", "") if str(self._work) in word else _without_folders(word)


def _without_folders(word: str) -> str:
    name, separator, path = word.rpartition("=")
    return f"{name}{separator}{Path(path).name}" if "/" in path else word
