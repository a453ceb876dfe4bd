"""What a benchmark says of the machine it ran on: never a host name."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's model name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
