"""Results as DICOM."""
