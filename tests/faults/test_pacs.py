"""From the PACS to the PACS, while node, worker, courier, database and the PACS itself are killed.

Orthanc sends images, the system screens them, and Orthanc finds a report and a capture in each study.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests import pace
from tests.cases import CASES, Case, needs_cases
from tests.dicom import NAME
from tests.faults.trial import IS_LONG, SEED, Account
from tests.orthanc import need
from tests.pacs import Hospital, hospital, image, study
from tests.servers import PostgreSQL, RedisServer, Servers

IMAGES = 500 if IS_LONG else 20
BROKEN_EACH = 10
"""One of so many is damaged."""
BURST = 5
PUT_OFF_SECONDS = pace.seconds(250)
"""Many damaged files in a row may be the storage's fault: they are put off for up to four minutes."""
REFUSED = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
"""Classes by modality."""
Blow = Callable[[Hospital], None]


def kill(site: Hospital, program: str) -> None:
    for process in site.system.processes(program):
        process.kill()


def strike_pacs(site: Hospital) -> None:
    site.pacs.kill()
    time.sleep(0.5)
    site.pacs.start()


BLOWS: dict[str, Blow] = {
    "node": lambda site: kill(site, "cli.main node"),
    "courier": lambda site: kill(site, "cli.main courier"),
    "PACS": strike_pacs,
    "worker": lambda site: kill(site, "cli.main worker"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    need("dsrdump")
    need("dciodvfy")
    with hospital(tmp_path_factory.mktemp("pacs")) as made:
        yield made


def counts(site: Hospital) -> dict[str, int]:
    return dict(site.system.query("SELECT state, count(*) FROM outbox GROUP BY state"))


def longest_pause(site: Hospital) -> float:
    """Seconds in which no image was finished and nothing was brought to the PACS."""
    ends = "SELECT finished_at FROM sightings UNION SELECT settled_at FROM outbox"
    moments = sorted(datetime.fromisoformat(str(moment)) for (moment,) in site.system.query(ends) if moment)
    return max((after - before).total_seconds() for before, after in pairwise(moments))


def damaged() -> set[int]:
    """The images of which no result can come."""
    return {number for number in range(IMAGES) if number % BROKEN_EACH == 3}


def run(site: Hospital, fault: str, blows: list[Blow], record: Callable[[str, object], None]) -> None:
    """Send every image until the node has taken it, with blows amid them, and account for each one."""
    chance, strikes = random.Random(SEED), len(blows)
    broken = damaged()
    instances = {number: site.add(number, broken=number in broken) for number in range(IMAGES)}
    others = {
        number: site.add(number, SOPClassUID=sop_class, Modality=modality)
        for number, (modality, sop_class) in enumerate(REFUSED.items(), start=IMAGES)
    }
    bursts = [list(instances)[start : start + BURST] for start in range(0, IMAGES, BURST)]
    amid = {(place + 1) * len(bursts) // (strikes + 1): blow for place, blow in enumerate(blows)}
    for number, burst in enumerate(bursts):
        if number in amid:
            amid[number](site)
        chance.shuffle(burst)
        # A PACS tries again what was not taken: what was is recognized, however often it comes.
        site.system.wait(lambda burst=burst: site.send(*(instances[n] for n in burst)), f"the node to take {burst}")
    for other in others.values():
        assert not site.send(other), "another class is refused when the association is made"
    good = sorted(set(instances) - broken)
    site.system.wait(lambda: len(site.rows()) == IMAGES, "a row for each image")
    site.system.wait(lambda: "waiting" not in site.rows().values(), "each image to be finished", PUT_OFF_SECONDS)
    site.system.wait(lambda: counts(site).get("sent") == 2 * len(good), "each report to be sent")
    rows = site.rows()
    answers = {number: site.answers(number) for number in instances}
    account = Account(
        fault=f"{fault} killed, PACS to PACS",
        strikes=strikes,
        images=IMAGES,
        lost=sum(set(answers[number]) != {"OT", "SR"} for number in good),
        doubled=sum(len(answers[n]) > 2 or bool(n in broken and answers[n]) for n in instances),
        wrongly_quarantined=sum(rows.get(image(number)) != "done" for number in good),
        longest=round(longest_pause(site), 1),
    )
    record("fault", vars(account))
    assert (account.lost, account.doubled, account.wrongly_quarantined) == (0, 0, 0), (account, answers, rows)
    assert set(counts(site)) == {"sent"}, counts(site)
    assert [site.answers(number) for number in others] == [[]] * len(others)


def test_every_image_of_a_pacs_is_accounted_for_and_answered_once_whoever_is_killed(
    site: Hospital, record_property: Callable[[str, object], None]
) -> None:
    run(site, ", ".join(BLOWS), list(BLOWS.values()) * (2 if IS_LONG else 1), record_property)


def checked(data: bytes, folder: Path) -> Dataset:
    """The object, in which dcmtk and dicom3tools find no error."""
    file, dataset = folder / "object.dcm", dcmread(BytesIO(data))
    file.write_bytes(data)
    if dataset.Modality == "SR":
        told = subprocess.run(["dsrdump", file], capture_output=True, text=True, errors="replace")
        assert told.returncode == 0 and "Probability" in told.stdout, told.stderr
    told = subprocess.run(["dciodvfy", file], capture_output=True, text=True, errors="replace")
    errors = [line for line in told.stderr.splitlines() if line.startswith("Error")]
    assert not errors, errors
    return dataset


def test_the_tools_of_the_field_find_no_error_in_what_the_pacs_holds(site: Hospital, tmp_path: Path) -> None:
    found = Counter()
    for number in range(IMAGES):
        for kind in site.answers(number):
            (instance,) = site.pacs.instances_of(study(number), kind)
            answer = checked(site.pacs.file(instance), tmp_path)
            assert (answer.PatientName, answer.PatientID) == (NAME, f"P-{number}")
            found[kind] += 1
    good = IMAGES - len(damaged())
    assert found == {"SR": good, "OT": good}


def test_a_reader_s_word_and_its_withdrawal_reach_the_pacs_as_new_editions(site: Hospital, tmp_path: Path) -> None:
    def reports() -> list[bytes]:
        return [site.pacs.file(instance) for instance in site.pacs.instances_of(study(2), "SR")]

    sighting = str(site.system.query("SELECT sighting_id FROM results WHERE sop_instance_uid = ?", image(2))[0][0])
    done = site.system.command("review", sighting, "NORMAL", "--by", "Dr. Okafor")
    assert done.returncode == 0, done.stderr
    site.system.wait(lambda: len(reports()) == 2, "the second edition")
    first, second = sorted((checked(r, tmp_path) for r in reports()), key=lambda r: "PredecessorDocumentsSequence" in r)
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    done = site.system.command("review", sighting, "--by", "Dr. Okafor", "--withdraw")
    assert done.returncode == 0, done.stderr
    site.system.wait(lambda: len(reports()) == 3, "the third edition")


def test_status_and_the_list_of_the_outbox_tell_of_the_destination(site: Hospital) -> None:
    site.system.wait(lambda: set(counts(site)) == {"sent"}, "all to be sent")
    told = site.system.command("outbox", "list", "--limit", "3")
    assert told.returncode == 0, told.stderr
    assert "pacs" in told.stdout and "sent" in told.stdout
    assert "Outbox    pacs (dicom): 0 waiting" in site.system.command("status").stdout


@pytest.mark.soak
@needs_cases
def test_files_from_public_reports_are_answered_where_they_are_screened_and_refused_with_a_reason_else(
    site: Hospital,
) -> None:
    cases = [case for case in CASES if case.name.endswith(".dcm") and "cut off" not in str(case.refusal)]
    files: dict[str, Case] = {}
    for case in cases:
        try:
            instance = site.pacs.upload(case.file.read_bytes())["ID"]
        except httpx.HTTPStatusError:  # what the PACS itself does not take, it does not send
            continue
        site.system.wait(lambda instance=instance: site.send(instance), f"the node to take {case.name}")
        files[str(dcmread(case.file, stop_before_pixels=True, force=True).SOPInstanceUID)] = case
    site.system.wait(lambda: set(files) <= set(site.rows()), "a row for each file")
    site.system.wait(lambda: "waiting" not in site.rows().values(), "each file to be finished")
    rows = site.rows()
    assert len(files) > len(cases) / 2
    quarantined = {files[uid].name for uid in files if rows[uid] == "quarantined"}
    assert quarantined == {case.name for case in files.values() if case.refusal}
    wanted = 2 * sum(state == "done" for state in rows.values())
    sent = "SELECT count(DISTINCT uid) FROM outbox WHERE state = 'sent' AND edition = 1"
    site.system.wait(lambda: site.system.query(sent)[0][0] == wanted, "report and capture of each")
    assert site.system.query("SELECT count(*) FROM outbox WHERE state = 'failed'") == [(0,)]


@pytest.mark.soak
def test_and_with_the_database_killed_too(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    server, broker = PostgreSQL(), RedisServer()
    try:

        def strike_database(_: Hospital) -> None:
            server.kill()
            time.sleep(1.0)
            server.start()

        with hospital(tmp_path, servers=Servers(f"{server.url}/postgres", broker.url)) as site:
            run(site, f"database, {', '.join(BLOWS)}", [strike_database, *BLOWS.values()], record_property)
    finally:
        broker.close()
        server.close()
