"""From the PACS to the PACS: Orthanc sends images, and finds reports and captures in their studies."""

import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.dicom import NAME
from tests.orthanc import need
from tests.pacs import Hospital, hospital, image, study

IMAGES = 6
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    need("dsrdump")
    need("dciodvfy")
    with hospital(tmp_path_factory.mktemp("pacs")) as made:
        yield made


@pytest.fixture(scope="module")
def answered(site: Hospital) -> Hospital:
    """Images were sent and answered: good ones, a damaged one, and one of another modality that is refused."""
    good = [site.add(number) for number in range(IMAGES)]
    broken = site.add(90, broken=True)
    other = site.add(91, SOPClassUID=CT, Modality="CT")
    site.pacs.wait(lambda: site.send(*good, broken), "the node to take the images")
    assert not site.send(other), "a CT is refused when the association is made"
    site.system.wait(lambda: len(site.rows()) == IMAGES + 1, "a row for each image")
    site.system.wait(lambda: "waiting" not in site.rows().values(), "each image to be finished")
    for number in range(IMAGES):
        site.system.wait(lambda number=number: site.answers(number) == ["OT", "SR"], f"the answers on {number}")
    return site


def checked(data: bytes, folder: Path) -> None:
    """Whether dcmtk and dicom3tools find no error in an object."""
    file = folder / "object.dcm"
    file.write_bytes(data)
    if dcmread(BytesIO(data)).Modality == "SR":
        told = subprocess.run(["dsrdump", file], capture_output=True, text=True, errors="replace")
        assert told.returncode == 0 and "Probability" in told.stdout, told.stderr
    told = subprocess.run(["dciodvfy", file], capture_output=True, text=True, errors="replace")
    errors = [line for line in told.stderr.splitlines() if line.startswith("Error")]
    assert not errors, errors


def test_every_image_has_one_row_and_its_study_one_report_and_one_capture(answered: Hospital) -> None:
    rows = answered.rows()
    assert sorted(rows.values()) == ["done"] * IMAGES + ["quarantined"]
    assert {image(number) for number in range(IMAGES)} <= set(rows)
    assert answered.answers(90) == [] == answered.answers(91)
    states = dict(answered.system.query("SELECT state, count(*) FROM outbox GROUP BY state"))
    assert states == {"sent": 2 * IMAGES}


def test_the_tools_of_the_field_find_no_error_in_what_the_pacs_holds(answered: Hospital, tmp_path: Path) -> None:
    for kind in ("SR", "OT"):
        for instance in answered.pacs.instances_of(study(1), kind):
            data = answered.pacs.file(instance)
            checked(data, tmp_path)
            assert str(dcmread(BytesIO(data)).PatientName) == NAME


def test_a_reader_s_word_and_its_withdrawal_reach_the_pacs_as_new_editions(answered: Hospital, tmp_path: Path) -> None:
    def reports() -> list:
        found = [dcmread(BytesIO(answered.pacs.file(i))) for i in answered.pacs.instances_of(study(2), "SR")]
        return sorted(found, key=lambda report: "PredecessorDocumentsSequence" in report)

    sighting = str(answered.system.query("SELECT sighting_id FROM results WHERE sop_instance_uid = ?", image(2))[0][0])
    done = answered.system.command("review", sighting, "NORMAL", "--by", "Dr. Okafor")
    assert done.returncode == 0, done.stderr
    answered.system.wait(lambda: len(reports()) == 2, "the second edition")
    first, second = reports()
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    for instance in answered.pacs.instances_of(study(2)):
        if dcmread(BytesIO(answered.pacs.file(instance))).Modality != "DX":
            checked(answered.pacs.file(instance), tmp_path)
    done = answered.system.command("review", sighting, "--by", "Dr. Okafor", "--withdraw")
    assert done.returncode == 0, done.stderr
    answered.system.wait(lambda: len(reports()) == 3, "the third edition")


def test_status_and_the_list_of_the_outbox_tell_of_the_destination(answered: Hospital) -> None:
    told = answered.system.command("outbox", "list", "--limit", "3")
    assert told.returncode == 0, told.stderr
    assert "pacs" in told.stdout and "sent" in told.stdout
    assert "Outbox    pacs (dicom): 0 waiting" in answered.system.command("status").stdout
