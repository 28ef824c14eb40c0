"""What people do beside the running system, from a second shell."""

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx

from tests.system import SECONDS, System, distinct, specimens


def _celery(system: System, *arguments: str) -> str:
    """Celery's command with nothing set but what every shell has: it finds the running system by itself."""
    variables = {name: value for name, value in system.environment.items() if not name.startswith("PNEUMOSCREEN_")}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SECONDS).stdout


def test_celery_inspect_finds_the_worker_with_nothing_set(system: System) -> None:
    # Asked again and again: a node that is only starting is not listening yet.
    system.wait(lambda: "screening@" in _celery(system, "inspect", "active", "--timeout", "3"), "the worker's answer")


def test_a_second_worker_on_the_host_has_a_name_of_its_own_and_takes_nothing_along_when_it_ends(system: System) -> None:
    first = f"screening@{socket.gethostname()}"
    second = f"screening-2@{socket.gethostname()}"
    command = [sys.executable, "-m", "cli.main", "worker"]
    process = subprocess.Popen(
        command, env=system.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        system.wait(lambda: {first, second} <= names(system), "both workers' answers")
    finally:
        process.terminate()
        process.wait(60)
    system.wait(lambda: second not in names(system), "the second worker's end")
    assert first in names(system)


def names(system: System) -> set[str]:
    """The Celery nodes that answer."""
    answer = _celery(system, "inspect", "ping", "--json", "--timeout", "3")
    return set(json.loads(answer)) if answer.startswith("{") else set()


def test_whoever_started_the_system_opens_its_pages_by_the_link_that_it_printed_and_sees_a_picture(
    system: System,
) -> None:
    printed = (system.home.parent / "up.out").read_text()
    (address,) = re.findall(r"^The pages are at (\S+)$", printed, re.MULTILINE)
    (path,) = re.findall(rf"{re.escape(address)}(/link/\S+)$", printed, re.MULTILINE)
    assert f"Pages     {address}\n" in system.command("status").stdout
    distinct(specimens()[0], system.inbox / "for-the-page.jpeg", 700)
    system.row("for-the-page.jpeg")
    ((number,),) = system.query("SELECT sighting_id FROM results WHERE path = 'for-the-page.jpeg'")
    password = {"password": "four words of a test", "again": "four words of a test"}
    with httpx.Client(base_url=address, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False) as client:
        client.timeout = SECONDS
        assert client.get("/login").headers["Content-Security-Policy"]
        assert client.get("/account").headers["location"] == "/login?next=/account"
        assert client.post(path, data=password).status_code == 303
        assert client.get("/worklist").status_code == 200
        answer = client.get(f"/images/{number}/pixels")
        assert len(answer.content) == 2 * int(answer.headers["X-Width"]) * int(answer.headers["X-Height"])
    assert ("admin", "open picture") in system.query("SELECT actor, action FROM audit_log")
    log = (system.home / "logs" / "web.log").read_text()
    assert f"GET /images/{{sighting:int}}/pixels (sighting {number}): 200" in log
    assert "for-the-page" not in log
    assert path not in log


def test_flower_shows_a_batch_received_started_and_succeeded_with_its_number_of_images(system: System) -> None:
    box = system.inbox / "for-flower"
    box.mkdir()
    for number in range(3):
        distinct(specimens()[number], box / f"{number}.jpeg", 500 + number)
    for number in range(3):
        system.row(f"for-flower/{number}.jpeg")

    def get(page: str) -> str:
        with urllib.request.urlopen(f"{system.flower}/{page}", timeout=SECONDS) as response:
            return str(response.read().decode())

    def counted() -> bool:
        metrics = get("metrics")
        kinds = ("task-received", "task-started", "task-succeeded")
        return all(f'task="pneumoscreen.screen",type="{kind}"' in metrics for kind in kinds)

    system.wait(counted, "Flower to count the batch")
    assert "images" in get(
        "tasks/datatable?draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc"
        "&columns[0][data]=name&search[regex]=false"
    )


def test_up_makes_a_backup_when_one_is_due_and_doctor_finds_no_problem_with_the_running_system(system: System) -> None:
    system.wait(lambda: "Backup    20" in system.command("status").stdout, "the first backup")
    assert len(list((system.home / "backups").glob("pneumoscreen-*.backup"))) == 1
    done = system.command("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problem was found." in done.stdout


def test_status_tells_what_is_there_and_that_all_is_well(system: System) -> None:
    done = system.command("status")
    assert "linear-1" in done.stdout
    assert "Backlog" in done.stdout or "0 waiting" in done.stdout
    assert "Traceback" not in done.stderr


def test_results_come_as_csv_json_and_parquet(system: System) -> None:
    distinct(specimens()[6], system.inbox / "formats.jpeg", 900)
    system.row("formats.jpeg")
    arguments = ("results", "--path", "formats", "--state", "done", "--format")
    rows = list(csv.DictReader(io.StringIO(system.command(*arguments, "csv").stdout)))
    assert [row["path"] for row in rows] == ["formats.jpeg"]
    assert json.loads(system.command(*arguments, "json").stdout)[0]["path"] == "formats.jpeg"
    command = [sys.executable, "-m", "cli.main", *arguments, "parquet"]
    done = subprocess.run(command, env=system.environment, capture_output=True, timeout=SECONDS)
    assert done.stdout[:4] == b"PAR1", done.stderr


def test_results_can_be_filtered_by_label_and_date(system: System) -> None:
    assert json.loads(system.command("results", "--since", "2100-01-01", "--format", "json").stdout) == []
    found = json.loads(system.command("results", "--label", "PNEUMONIA", "--format", "json").stdout)
    assert {row["label"] for row in found} <= {"PNEUMONIA"}


def test_screen_copies_files_from_elsewhere_in_and_remembers_where_from(system: System, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(3):
        distinct(specimens()[number], archive / f"{number}.jpeg", 700 + number)
    done = system.command("screen", str(archive))
    assert done.returncode == 0, done.stderr
    assert "3 images" in done.stdout
    assert (system.home / "submitted" / ".pneumoscreen-root").exists(), "a deleted copy would wait for ever"
    origins = system.query("SELECT origin FROM results WHERE root = 'submitted' AND origin LIKE ?", f"{archive}%")
    assert {origin for (origin,) in origins} == {str(archive / f"{number}.jpeg") for number in range(3)}


def test_screen_takes_a_file_below_a_watched_folder_where_it_lies(system: System) -> None:
    distinct(specimens()[1], system.inbox / "here.jpeg", 800)
    system.row("here.jpeg")
    done = system.command("screen", str(system.inbox / "here.jpeg"))
    assert done.returncode == 0, done.stderr
    assert system.query("SELECT root FROM results WHERE path LIKE '%here.jpeg'") == [("inbox",)]


def test_screen_ends_with_1_if_an_image_is_quarantined(system: System, tmp_path: Path) -> None:
    (tmp_path / "bad.jpeg").write_text("no picture")
    os.utime(tmp_path / "bad.jpeg", (1, 1))
    done = system.command("screen", str(tmp_path / "bad.jpeg"))
    assert done.returncode == 1
    assert "not an image" in done.stdout


def test_retry_screens_a_quarantined_image_again(system: System) -> None:
    (system.inbox / "again.jpeg").write_text("no picture")
    system.row("again.jpeg")
    assert "1 images" in system.command("retry", "again.jpeg").stdout
    jobs = "SELECT count(*) FROM jobs JOIN sightings s ON s.id = sighting_id WHERE path = 'again.jpeg' AND {}"
    system.wait(lambda: system.query(jobs.format("jobs.state = 'finished'")) == [(2,)], "the second try")
    assert system.row("again.jpeg")["state"] == "quarantined"


def test_models_list_and_show_tell_the_live_version(system: System) -> None:
    assert "linear-1" in system.command("models", "list").stdout
    assert json.loads(system.command("models", "show").stdout)["version"] == "linear-1"
    missing = system.command("models", "show", "no-such")
    assert missing.returncode == 1
    assert "models list" in missing.stderr


def test_a_second_up_in_the_same_home_is_refused(system: System) -> None:
    done = system.command("up", "--home", str(system.home), "--flower-port", "off")
    assert done.returncode == 2
    assert "already" in done.stderr
