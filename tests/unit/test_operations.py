"""What docs/operations.md promises, and what points to it."""

import re
from pathlib import Path

import yaml

from shared.base.lanes import LANES, Lane
from shared.base.settings import Settings
from shared.base.source_kinds import SETTINGS

TOP = Path(__file__).parents[2]
ALERTS = TOP / "docs" / "monitoring" / "alerts.yml"
PAGE = (TOP / "docs" / "operations.md").read_text()

NO_SETTINGS = {
    *("pg_dump", "dead_letters", "is_provisional", "operating_point"),
    *("unfamiliar_score", "outside_population", "drift_references", "drift_checks"),
}


def anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_has_a_heading_that_says_what_to_do_and_every_such_heading_an_alert() -> None:
    rules = yaml.safe_load(ALERTS.read_text())
    runbooks = [rule["annotations"]["runbook"] for group in rules["groups"] for rule in group["rules"]]
    assert {runbook.partition("#")[0] for runbook in runbooks} == {"docs/operations.md"}
    named = {runbook.partition("#")[2] for runbook in runbooks}
    assert named <= anchors(PAGE)
    section = PAGE.partition("## What each alert means")[2]
    assert len(re.findall(r"^### ", section, re.MULTILINE)) == len(named)


def test_every_link_leads_somewhere() -> None:
    for page in [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            file, _, anchor = target.partition("#")
            if target.startswith("http"):
                continue
            leads_to = page.parent / file if file else page
            assert leads_to.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(leads_to.read_text()), f"{page.name}: {target}"


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"`(?:PNEUMOSCREEN_)?([a-z]+_[a-z_]+)(?: = [^`]*)?`", PAGE))
    named = {name for name in named if not name.startswith("pneumoscreen_")}  # metrics, and roles of the database
    assert named - NO_SETTINGS <= {
        *Settings.model_fields,
        *(name for kind in SETTINGS.values() for name in kind.model_fields),
    }


def test_an_alert_on_a_waiting_lane_begins_where_status_says_that_it_waits_too_long() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    limits = {}
    for rule in rules:
        for lanes, seconds in re.findall(r'queue_age_seconds\{lane=~?"([\w|]+)"\}\) > (\d+)', rule["expr"]):
            limits |= dict.fromkeys(lanes.split("|"), int(seconds))
    assert limits == {
        lane: record.max_wait.total_seconds() for lane, record in LANES.items() if lane is not Lane.BACKGROUND
    }, "the background lane waits for days: nobody is called for it"
