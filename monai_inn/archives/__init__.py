"""From and to a hospital's archive, by DICOMweb or DIMSE: `docs/archive.md`."""
