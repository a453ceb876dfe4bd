"""File names and label values that a source and its phantom share, so that neither keeps its own copy."""

from __future__ import annotations

ACDC_TRAINING = ("database", "training")
"""Folders between the root of the ACDC download and its patients."""
ACDC_PATIENT = r"patient\d{3}"
"""What a patient's folder is called, as a regular expression."""
ACDC_INFO = "Info.cfg"
ACDC_PHASES = ("ED", "ES")
"""Keys of Info.cfg that hold the frame number of end-diastole and end-systole."""
ACDC_GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
"""Disease groups, in the order of their blocks of patients in the training set."""
ACDC_CLASSES = ("background", "right_ventricle", "myocardium", "left_ventricle")
"""What the mask values 0, 1, 2 and 3 stand for."""


def acdc_patient(number: int) -> str:
    """Return the folder name of patient `number`, counted from 1."""
    return f"patient{number:03d}"


def acdc_frame(patient: str, frame: int) -> str:
    """Return the file name of one 3-D frame."""
    return f"{patient}_frame{frame:02d}.nii.gz"


def acdc_mask(patient: str, frame: int) -> str:
    """Return the file name of the mask of one 3-D frame."""
    return f"{patient}_frame{frame:02d}_gt.nii.gz"
