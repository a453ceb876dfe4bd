"""Where a job runs and in which precision."""

from __future__ import annotations

import pytest
import torch

from synthcohort.devices import choose_device, choose_precision
from synthcohort.errors import BadOption


def cuda(monkeypatch: pytest.MonkeyPatch, devices: int, *, bf16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)


@pytest.mark.parametrize(
    ("asked", "devices", "chosen"),
    [("auto", 0, "cpu"), ("cpu", 0, "cpu"), ("auto", 2, "cuda"), ("cpu", 2, "cpu"), ("cuda:1", 2, "cuda:1")],
)
def test_the_device_is_the_best_or_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, devices: int, chosen: str
) -> None:
    cuda(monkeypatch, devices)
    assert choose_device(asked) == torch.device(chosen)


@pytest.mark.parametrize(
    ("asked", "devices"), [("cuda", 0), ("cuda:2", 2), ("cuda:x", 2), ("cudas", 2), ("cpu:x", 0), ("tpu", 2), ("", 0)]
)
def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, asked: str, devices: int) -> None:
    cuda(monkeypatch, devices)
    with pytest.raises(BadOption, match=f"'{asked}'") as raised:
        choose_device(asked)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    expected = "bf16" if native else "fp32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    assert choose_precision("auto", torch.device("cpu")) == expected
    cuda(monkeypatch, 1, bf16=native)
    assert choose_precision("auto", torch.device("cuda")) == expected


def test_a_processor_that_cannot_be_asked_gets_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert choose_precision("auto", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_asked_for_is_taken(precision: str) -> None:
    assert choose_precision(precision, torch.device("cpu")) == precision


def test_another_precision_is_refused() -> None:
    with pytest.raises(BadOption, match="'fp16'"):
        choose_precision("fp16", torch.device("cpu"))
