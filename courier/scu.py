"""Sends data sets by C-STORE: one association for a burst, opened when the first one goes."""

import ssl
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association

from shared.base import pynetdicom_patch
from shared.base.destination_settings import DicomDestination
from shared.base.errors import Away, BrokeOff, Deferred, Rejected

CLASSES = (ComprehensiveSRStorage, SecondaryCaptureImageStorage)
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
DUPLICATE = 0x0111
"""The destination has an object of this UID: ours, from a time when its answer got lost."""
NEVER = (0x0112, 0x0117, 0x0122)
"""No such instance, invalid instance, class not supported."""
WARNINGS = range(0xB000, 0xC000)
DOES_NOT_MATCH = range(0xA900, 0xAA00)


class StoreScu:
    """Not for several threads."""

    def __init__(self, settings: DicomDestination) -> None:
        pynetdicom_patch.apply()
        self._settings = settings
        self._association: Association | None = None

    def send(self, dataset: Dataset) -> str | None:
        """Returns a remark if it was stored with a warning. Raises Away, BrokeOff, Deferred or Rejected."""
        association = self._connect()
        try:
            answer = association.send_c_store(dataset)
        except ValueError as error:  # its class or its syntax was not negotiated
            raise Rejected(f"{self._name} does not accept {dataset.SOPClassUID.name}: have it configured") from error
        except RuntimeError as error:
            self.close()
            raise BrokeOff(f"{self._name} ended the association") from error
        if "Status" not in answer:  # it did not answer in time, or broke off
            self.close()
            raise BrokeOff(f"{self._name} took an object and did not answer within {self._settings.timeout:g} s")
        return judge(self._name, answer)

    def close(self) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()

    @property
    def _name(self) -> str:
        return f"{self._settings.ae_title} at {self._settings.host}:{self._settings.port}"

    def _connect(self) -> Association:
        if self._association is not None and self._association.is_established:
            return self._association
        entity = AE(self._settings.calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._settings.timeout
        entity.connection_timeout = self._settings.timeout
        entity.maximum_pdu_size = 131072
        for each in CLASSES:
            entity.add_requested_context(each, SYNTAXES)
        association = entity.associate(
            self._settings.host,
            self._settings.port,
            ae_title=self._settings.ae_title,
            tls_args=self._tls(),
        )
        if association.is_rejected:
            raise Away(f"{self._name} rejects the association: does it know the title {entity.ae_title}?")
        if not association.is_established:
            raise Away(f"{self._name} is out of reach, or refuses the connection")
        self._association = association
        return association

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        if not self._settings.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self._settings.ca)
            if self._settings.certificate is not None:
                context.load_cert_chain(self._settings.certificate, self._settings.key)
        except (OSError, ssl.SSLError) as error:
            raise Away(f"the certificates for {self._name} cannot be read: {error}") from error
        return context, self._settings.host


def judge(name: str, answer: Dataset) -> str | None:
    """What a C-STORE response means (PS3.4 B.2.3); returns a remark if the object was stored with a warning."""
    status = int(answer.Status)
    if status == 0x0000:
        return None
    if status == DUPLICATE:
        return "the destination had it already"
    text = f"{name} answered 0x{status:04X}"  # its comment is not repeated, since it may name the patient
    if status in WARNINGS:
        return f"stored with a warning: {text}"
    if status in DOES_NOT_MATCH or status in NEVER:
        raise Rejected(text)
    raise Deferred(text)


def classes() -> Sequence[str]:
    """What is sent, for the conformance statement."""
    return CLASSES
