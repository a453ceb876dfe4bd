"""File names and label values that a source and its phantom share, so that neither keeps its own copy."""

from __future__ import annotations

PHANTOM_MARK = ".phantom"
"""A hidden file in the root of what a phantom wrote, see `_listing.mark_phantom`."""

ACDC_TRAINING, ACDC_TESTING = ("database", "training"), ("database", "testing")
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


CHEXPERT_ROOTS = ("CheXpert-v1.0-small", "CheXpert-v1.0")
"""Folders of the CheXpert download, small and full size; the first part of every Path in its tables."""
CHEXPERT_TABLES = ("train.csv", "valid.csv")
"""Tables in that folder; the images of each lie in the folder of the same stem."""
CHEXPERT_FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""Columns of findings, in order: 1.0 present, 0.0 absent, -1.0 uncertain, blank not mentioned."""
CHEXPERT_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS)
"""All columns of both tables, in order. AP/PA is blank for a lateral view."""


def chexpert_path(root: str, part: str, patient: int, study: int, view: int, kind: str) -> str:
    """Return the Path of an image as its table states it, relative to the folder that holds `root`.

    Args:
        root: One of `CHEXPERT_ROOTS`.
        part: "train" or "valid".
        patient: Number of the patient, from 1 (64541 in the first row of the real valid.csv).
        study: Number of the study within the patient, from 1.
        view: Number of the image within the study, from 1, frontal and lateral counted together.
        kind: "frontal" or "lateral".
    """
    return f"{root}/{part}/patient{patient:05d}/study{study}/view{view}_{kind}.jpg"


NIH_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
"""Tables of the NIH ChestX-ray14 download, the corrected one first."""
NIH_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""Findings as the column "Finding Labels" names them, with | between several."""
NIH_NO_FINDING = "No Finding"
"""What that column says when there is none of them."""
NIH_SIZE = ("OriginalImage[Width", "Height]")
NIH_SPACING = ("OriginalImagePixelSpacing[x", "y]")
"""Columns of the size in pixels and the spacing in millimetres before reduction: their names hold a bare comma."""

SLIVER07_FOLDERS = ("training", "training-part1", "training-part2", "training-scans", "training-labels")
"""Folders of the SLiver07 download that may hold the training volumes: merged, as its two archives unpack, or images
and masks apart as in the copy on Zenodo."""
SLIVER07_IMAGE, SLIVER07_MASK = "liver-orig{:03d}.mhd", "liver-seg{:03d}.mhd"
"""Header of volume NNN and of its mask, 001 to 020; the values lie in the .raw file that each names."""

IDRID_ROOT = "A. Segmentation"
IDRID_IMAGES, IDRID_MASKS = "1. Original Images", "2. All Segmentation Groundtruths"
IDRID_PARTS = {"train": "a. Training Set", "test": "b. Testing Set"}
"""Split -> folder below both of the above; images 1 to 54 are the training set, 55 to 81 the test set."""
IDRID_TARGETS = {
    "microaneurysm": ("1. Microaneurysms", "MA"),
    "haemorrhage": ("2. Haemorrhages", "HE"),
    "hard_exudate": ("3. Hard Exudates", "EX"),
    "soft_exudate": ("4. Soft Exudates", "SE"),
    "optic_disc": ("5. Optic Disc", "OD"),
}
"""What is outlined -> folder below a part of the masks, and ending of IDRiD_NN_ENDING.tif."""
IDRID_IMAGE, IDRID_MASK = "IDRiD_{:02d}.jpg", "IDRiD_{:02d}_{}.tif"
"""Photograph number NN, and the outline of one target in it by the target's ending."""

RSNA_ROOT = "rsna-intracranial-hemorrhage-detection"
RSNA_TABLES = ("stage_2_train.csv", "stage_1_train.csv")
"""Long tables with the columns ID and Label: six rows an image, ID = ID_<hex>_<subtype>."""
RSNA_FOLDERS = ("stage_2_train", "stage_2_train_images", "stage_1_train_images", "stage_1_train")
"""Folders that may hold the ID_<hex>.dcm of that table."""
RSNA_SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
"""Endings of ID, in the order of the rows; "any" is 1 when one of the others is."""
RSNA_CORRUPT = "ID_6431af929"
"""An image of the real download whose pixel data are cut short."""
