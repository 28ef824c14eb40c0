"""What the worker keeps of a DICOM header: what joins a result to a PACS, and the patient's id as a keyed hash."""

import hashlib
import hmac

from pydantic import SecretStr

from shared.ledger.work import Identifiers


def read_identifiers(data: bytes, secret: SecretStr | None) -> tuple[Identifiers, float | None]:
    """The identifiers of a DICOM file, and the patient's age in years if it is known.

    Without a secret nothing is kept of the patient: a hash without a key is soon undone. Raises Unreadable, Unfinished.
    """
    from shared.imaging import dicom  # only those who meet a DICOM file need pydicom

    header = dicom.read_header(data)
    key = _keyed_hash(header.patient, secret) if header.patient and secret else None
    return Identifiers(header.study_uid, header.sop_instance_uid, header.accession_number, key), header.age_years


def patient_key(patient_id: str, issuer: str | None, secret: SecretStr) -> str:
    """The key under which the images of a patient are found; the issuer is part of it where the header names one."""
    return _keyed_hash(f"{(issuer or '').strip()}|{patient_id.strip()}", secret)  # as `dicom.read_header` joins them


def _keyed_hash(patient: str, secret: SecretStr) -> str:
    return hmac.new(secret.get_secret_value().encode(), patient.encode(), hashlib.sha256).hexdigest()
