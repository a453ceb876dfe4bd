"""What a benchmark says of the machine and the day it ran on: never a host name."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import torch

from synthcohort.runs import versions


def circumstances() -> dict[str, Any]:
    """Return device, versions and date of a run on this machine's processor."""
    return {
        "device": f"cpu {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": versions(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def processor() -> str:
    """Return the processor's model name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
