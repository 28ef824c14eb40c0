"""Receives images by DICOM: a service of its own, beside the producer."""
