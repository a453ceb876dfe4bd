"""Where a job runs and in which precision. "auto" is decided here and recorded in the run's config."""

from __future__ import annotations

import os

import torch

from .errors import BadOption


def choose_device(device: str) -> torch.device:
    """Return the device that "auto", "cpu" or "cuda" stands for.

    Raises:
        BadOption: The device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device not in there:
        raise BadOption("A device is auto, cpu or a CUDA device that is there", f"'{device}'", "Use --device auto")
    return torch.device(device)


def machine() -> dict[str, int | str]:
    """Return what a job runs on: "cpu_cores" it may use, and "device", the name of the GPU or "cpu"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {"cpu_cores": cores, "device": name}


def choose_precision(precision: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 where the hardware multiplies it natively.

    Raises:
        BadOption: The precision is none of the three.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise BadOption("A precision is auto, fp32 or bf16", f"'{precision}'", "Use --precision auto")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "fp32"
