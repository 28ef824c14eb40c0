"""The server of one source: what it negotiates, and what it answers."""

import ssl
import threading
import time
from contextlib import suppress
from functools import partial

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from node import c_store
from node.commitment import Commitments
from node.implementation import CLASS_UID, VERSION_NAME
from node.metrics import Metrics
from node.peers import SPARE, Gate
from node.receiving import Receiver
from node.rejections import Rejections
from node.transport import FIRST_SECONDS, MAX_PDU, Server
from shared.base.dicom_settings import DicomSettings
from shared.base.errors import WrongSettings
from shared.imaging.dicom import RADIOGRAPHS
from shared.imaging.dicom_file import SYNTAXES

NETWORK_SECONDS = 60.0
"""An association on which nothing comes for so long is ended: each costs some percent of a core."""
POLL_SECONDS = 0.2
WRONG_TITLES = {3: "its AE title is not in allowed_titles", 7: "it called another AE title than ae_title"}
"""By the diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4). The titles themselves are whatever a peer writes."""


def entity(chosen: DicomSettings) -> AE:
    """What a source offers to those who connect: CR and DX images alone, so that what is sent to a PACS and routed
    back is refused."""
    offered = AE(ae_title=chosen.ae_title)
    offered.implementation_class_uid = UID(CLASS_UID)
    offered.implementation_version_name = VERSION_NAME
    offered.maximum_pdu_size = MAX_PDU
    offered.maximum_associations = chosen.max_associations + SPARE  # never reached: the gate says who has a place
    offered.require_called_aet = True
    offered.require_calling_aet = list(chosen.allowed_titles)
    offered.acse_timeout, offered.network_timeout, offered.dimse_timeout = FIRST_SECONDS, NETWORK_SECONDS, None
    offered.add_supported_context(Verification)
    for sop_class in RADIOGRAPHS:
        offered.add_supported_context(sop_class, list(SYNTAXES))
    if chosen.commitment:
        offered.add_supported_context(StorageCommitmentPushModel)
    return offered


def tls_of_server(chosen: DicomSettings) -> ssl.SSLContext | None:
    """Whoever connects must show a certificate that the authority in `tls_clients` signed. Raises WrongSettings."""
    return _tls(chosen, ssl.Purpose.CLIENT_AUTH)


def tls_of_client(chosen: DicomSettings) -> ssl.SSLContext | None:
    """For answers to storage commitments: the same certificate, and the same authority for the other side's.

    The authority is asked, not the name: what devices hold seldom names a host. Raises WrongSettings.
    """
    return _tls(chosen, ssl.Purpose.SERVER_AUTH)


def _tls(chosen: DicomSettings, purpose: ssl.Purpose) -> ssl.SSLContext | None:
    if chosen.tls_certificate is None:
        return None
    try:
        context = ssl.create_default_context(purpose, cafile=chosen.tls_clients)
        context.load_cert_chain(chosen.tls_certificate, chosen.tls_key)
    except OSError as error:  # ssl.SSLError is one
        files = "tls_certificate, tls_key and tls_clients"
        raise WrongSettings(f"The certificates of {chosen.ae_title} cannot be used ({files}): {error}.") from error
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Listener:
    """Raises WrongSettings when it is made if the port is taken, or the address is not this machine's."""

    def __init__(
        self,
        name: str,
        chosen: DicomSettings,
        receiver: Receiver,
        commitments: Commitments | None,
        metrics: Metrics,
        max_object: int,
    ) -> None:
        self._entity = entity(chosen)
        self._rejections = Rejections(name, partial(metrics.count_rejection, name))
        self.gate = Gate(chosen.allowed_addresses, chosen.max_associations)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, c_store.handler(receiver)),
            (evt.EVT_C_ECHO, lambda _: 0x0000),
            (evt.EVT_REJECTED, self._note_rejection),
        ]
        if commitments is not None:
            handlers.append((evt.EVT_N_ACTION, commitments.handle))
        try:
            self._server = Server(
                self._entity,
                (chosen.host, chosen.port),
                handlers,
                gate=self.gate,
                tls=tls_of_server(chosen),
                max_object=max_object,
                rejections=self._rejections,
            )
        except (OSError, OverflowError) as error:
            raise WrongSettings(
                f"The source {name} cannot listen on {chosen.host} (host), port {chosen.port} (port): {error}. "
                "Is another node running, or the address another machine's?"
            ) from error
        self._entity._servers.append(self._server)  # as AE.start_server does, and `shutdown` undoes
        self._thread = threading.Thread(target=self._server.serve_forever, args=[POLL_SECONDS], name=f"listen-{name}")
        self._thread.daemon = True

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more; objects that are under way have so long. Then every association is ended."""
        self._server.shutdown()
        deadline = time.monotonic() + seconds
        associations = self._entity.active_associations
        while any(_is_receiving(each) for each in associations):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        for each in associations:
            with suppress(Exception):
                each.abort()

    def _note_rejection(self, event: Event) -> None:
        answer, peer = event.assoc.acceptor.primitive, event.assoc.requestor.address_info
        assert answer is not None
        assert peer is not None
        self._rejections.note(peer.address, "negotiation", WRONG_TITLES.get(answer.diagnostic or 0))


def _is_receiving(association: Association) -> bool:
    """Whether an object is under way; one whose peer is gone never arrives."""
    has_some = association.dimse.message is not None or association.dimse.msg_queue.qsize() > 0
    return association.is_alive() and association.dul.is_alive() and association.is_established and has_some
