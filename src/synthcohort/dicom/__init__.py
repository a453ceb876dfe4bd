"""DICOM image files; nothing else in the package reads them.

A file is opened with `open_dicom`: its header is read at once, its pixels frame by frame when asked for. What is wrong
with a file, and whatever pydicom, numpy or a decoder raises on its bytes, becomes one `BadSource` line that quotes
nothing of the file; what these libraries would log or warn is kept silent, since it may quote values of the header.
"""

from ._file import DicomFile, Frame, open_dicom
from ._header import NoPixels, NotDicom

__all__ = ["DicomFile", "Frame", "NoPixels", "NotDicom", "open_dicom"]
