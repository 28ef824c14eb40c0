"""A result as a DICOM structured report: Comprehensive SR by template TID 1500, with the image as its evidence."""

from datetime import datetime

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ComprehensiveSRStorage

from shared import __version__
from shared.base.derived_uid import derive
from shared.ledger.result_facts import ResultFacts
from shared.reports import wording
from shared.reports.identity import REQUIRED, Original

SCHEME = "99PNEUMOSCREEN"
FINDING, PNEUMONIA = codes.DCM.Finding, Code("233604007", "SCT", "Pneumonia")
CHEST = Code("51185008", "SCT", "Thorax")
PROCEDURE = Code("399208008", "SCT", "Plain chest X-ray")
PRESENT, ABSENT = Code("52101004", "SCT", "Present"), Code("2667000", "SCT", "Absent")
NO_UNITS = Code("1", "UCUM", "no units")
STATUS = Code("STATUS", SCHEME, "Status of this result")
AID = Code("AID", SCHEME, "Screening aid, not a diagnosis")
BY_MODEL = Code("BY_MODEL", SCHEME, "Pneumonia by the model")
BY_READER = Code("BY_READER", SCHEME, "Pneumonia by a reader")
POINT = Code("POINT", SCHEME, "Operating point")
POINTS = {
    None: Code("NONE", SCHEME, "None of this source: the model version's threshold"),
    True: Code("PROVISIONAL", SCHEME, "Provisional: its recall is not proved yet"),
    False: Code("FITTED", SCHEME, "Fitted to this source"),
}
REMARK = Code("REMARK", SCHEME, "Remark")
UNFAMILIAR = Code("UNFAMILIAR", SCHEME, "Unlike the images that the model knows")
OUTSIDE = Code("OUTSIDE", SCHEME, "Age outside of what the model was made for")
PRIVATE_CODES = (STATUS, AID, BY_MODEL, BY_READER, POINT, *POINTS.values(), REMARK, UNFAMILIAR, OUTSIDE)
"""Those of our own scheme, which the conformance statement lists."""


def series_of(uid: str) -> str:
    """The UID of the series of an object: each is in one of its own."""
    return derive(uid.encode(), "series")


def build_report(facts: ResultFacts, original: Original, uid: str, replaces: str | None, made_at: datetime) -> Dataset:
    """The report as a data set; `made_at` is in the site's time zone. The same arguments give the same bytes.

    `replaces` is the UID of the report that the destination has: it becomes the predecessor.
    """
    report = ComprehensiveSR(
        evidence=[_evidence(original)],
        content=_content(facts, original, uid),
        series_instance_uid=series_of(uid),
        series_number=wording.SERIES_NUMBERS["report"],
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=wording.MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=facts.model_version,
        software_versions=__version__,
        device_serial_number="none",
        series_description=wording.SERIES["report"],
        performed_procedure_codes=[PROCEDURE],
    )
    date_and_sign(report, original, made_at)
    if replaces is not None:
        report.PredecessorDocumentsSequence = [_reference(original, replaces)]
    return report


def date_and_sign(dataset: Dataset, original: Original, made_at: datetime) -> None:
    """Dates of the row and not of this moment, so that sending again sends the same; then the patient's identity."""
    date, time = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    for equipment in dataset.get("ContributingEquipmentSequence", ()):  # highdicom names itself, and this moment
        equipment.ContributionDateTime = date + time
    original.sign(dataset)


def _evidence(original: Original) -> Dataset:
    """What highdicom asks of an image; the identity comes later, as the file has it."""
    evidence = Dataset()
    evidence.SOPClassUID, evidence.SOPInstanceUID = original.sop_class_uid, original.sop_instance_uid
    evidence.SeriesInstanceUID, evidence.StudyInstanceUID = original.series_instance_uid, original.study_instance_uid
    for name in REQUIRED:
        setattr(evidence, name, "")
    return evidence


def _reference(original: Original, uid: str) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = ComprehensiveSRStorage, uid
    series.SeriesInstanceUID, series.ReferencedSOPSequence = series_of(uid), [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = original.study_instance_uid, [series]
    return study


def _content(facts: ResultFacts, original: Original, uid: str) -> MeasurementReport:
    device = DeviceObserverIdentifyingAttributes(
        uid=derive(b"pneumoscreen", facts.model_version),
        name=wording.MANUFACTURER,
        manufacturer_name=wording.MANUFACTURER,
        model_name=facts.model_version,
    )
    image = SourceImageForMeasurementGroup(original.sop_class_uid, original.sop_instance_uid)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=derive(uid.encode(), "finding"), identifier="Pneumonia"),
        finding_type=PNEUMONIA,
        finding_sites=[FindingSite(anatomic_location=CHEST)],
        algorithm_id=AlgorithmIdentification(name=wording.MANUFACTURER, version=facts.model_version),
        measurements=[
            Measurement(name=codes.DCM.Probability, value=round(facts.probability, 6), unit=NO_UNITS),
            Measurement(name=codes.DCM.ThresholdValue, value=round(facts.threshold, 6), unit=NO_UNITS),
        ],
        qualitative_evaluations=[QualitativeEvaluation(name, value) for name, value in _evaluations(facts)],
        source_images=[image],
    )
    return MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, observer_identifying_attributes=device)
        ),
        procedure_reported=PROCEDURE,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _evaluations(facts: ResultFacts) -> list[tuple[Code, Code]]:
    evaluations = [(BY_MODEL, _presence(facts.label)), (STATUS, AID)]
    if facts.word is not None:
        evaluations.append((BY_READER, _presence(facts.word)))
    evaluations.append((POINT, POINTS[None if facts.operating_point is None else bool(facts.is_provisional)]))
    if facts.unfamiliar:
        evaluations.append((REMARK, UNFAMILIAR))
    if facts.outside_population:
        evaluations.append((REMARK, OUTSIDE))
    return evaluations


def _presence(label: str) -> Code:
    return PRESENT if label == "PNEUMONIA" else ABSENT
