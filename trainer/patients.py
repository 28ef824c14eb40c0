"""Whose image a file is: the rules that say so, in their order, and what is told of them.

A patient's key decides on which side of the split their images lie, so a rule never depends on what else is there.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from pydantic import SecretStr

from shared.base.errors import WrongSettings
from shared.imaging import is_dicom
from shared.imaging.identifiers import read_identifiers

PRESETS = {
    "kermany": r"(?<![A-Za-z0-9])(person\d+|IM-\d+)[^/]*$",
    "nih": r"(?:^|/)(\d{8})_\d{3}(?:\.[^./]*)?$",
    "chexpert": r"(?:^|/)(patient\d{5,6})/",
    "mimic": r"(?:^|/)(p\d{8})/",
    "folder": r"([^/]+)/[^/]*$",
}
"""Patterns by name, as `pattern` in dataset.toml may name them."""
_KERMANY = re.compile(PRESETS["kermany"])
_UNKEYED = SecretStr("pneumoscreen: no patient_secret is set")
"""Stands in where a site has no secret: its hashes tell patients apart, and are never written down."""
LIKELY = 0.9
"""Of the names that no rule knows, so many must look alike for a hint."""
CROWD, CROWD_SHARE = 20, 0.1
"""More images, and a larger share of all, than one patient is likely to have."""


class Rule(StrEnum):
    """What said whose image it is. The first that has an answer decides."""

    STATED = "labels.csv"
    HEADER = "DICOM header"
    PATTERN = "pattern"
    KNOWN = "file name as in Kermany's set"
    NAME = "file name"


@dataclass(frozen=True)
class Owner:
    patient: str
    rule: Rule


@dataclass(frozen=True)
class Pattern:
    """A regular expression, searched in a file's path within its class folder; its group is the patient."""

    name: str  # as declared: a preset's, or the expression itself
    expression: re.Pattern[str]

    def find(self, name: str) -> str | None:
        match = self.expression.search(name)
        return (match.group(1) or None) if match else None


def parse_pattern(text: object, where: str) -> Pattern:
    """A preset, or an expression with exactly one group. Raises WrongSettings, naming the place."""
    if not isinstance(text, str) or not text:
        raise WrongSettings(f"{where}: pattern must be a text: {_ways()}")
    try:
        expression = re.compile(PRESETS.get(text, text))
    except re.error as error:
        raise WrongSettings(f"{where}: the pattern {text!r} is no regular expression: {error}") from error
    if expression.groups != 1:
        raise WrongSettings(
            f"{where}: the pattern {text!r} has {expression.groups} groups, where one must say whose image it is: "
            f"{_ways()}"
        )
    return Pattern(text, expression)


def _ways() -> str:
    return f"one of {', '.join(PRESETS)}, or a regular expression with one group, as '^(\\d+)_'"


def identify(name: str, content: bytes, pattern: Pattern | None, secret: SecretStr | None) -> Owner:
    """Whose image a file is that `labels.csv` gives to nobody; `name` is its path within its class folder.

    Raises ImageError where a DICOM header cannot be read.
    """
    if is_dicom(content):
        key = read_identifiers(content, secret or _UNKEYED)[0].patient_key
        if key is not None:
            return Owner(of_key(key), Rule.HEADER)
    return identify_by_name(name, pattern)


def identify_by_name(name: str, pattern: Pattern | None = None) -> Owner:
    """By the pattern; else by the name: the names of Kermany's set are known, any other one is a patient of its own.

    Kermany's images lie in no folder of their own within a class: names that begin alike in folders, as `IM-0001` in
    one for each patient, are not taken for one patient's.
    """
    found = pattern.find(name) if pattern else None
    if found is not None:
        return Owner(found, Rule.PATTERN)
    match = None if "/" in name else _KERMANY.search(name)
    if match:
        return Owner(match.group(1), Rule.KNOWN)
    return Owner(_stem(name), Rule.NAME)


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.stem)


def of_key(key: str) -> str:
    """The patient of `dicom_headers.patient_key`; written so since the first trainings, which decides on their side."""
    return f"person{int(hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:15], 16)}"


@dataclass(frozen=True)
class Attribution:
    """How many patients each rule made of how many images, and what should make one doubt it."""

    images: int
    patients: int
    by_rule: dict[Rule, tuple[int, int]]
    """(images, patients), in the order of the rules."""
    pattern: str | None = None
    doubts: tuple[str, ...] = ()

    def sentence(self) -> str:
        parts = [
            f"{images:,} images by {self._name(rule)} ({patients:,} patients)"
            for rule, (images, patients) in self.by_rule.items()
        ]
        return f"{self.patients:,} patients in {self.images:,} images: {', '.join(parts) or 'not recorded'}"

    def as_facts(self) -> dict[str, Any]:
        """What manifest, report and MLflow say; numbers alone, no patient and no name."""
        counts = {str(rule): {"images": images, "patients": made} for rule, (images, made) in self.by_rule.items()}
        return {"patients_told_by": counts} | ({"pattern": self.pattern} if self.pattern else {})

    def _name(self, rule: Rule) -> str:
        words = {
            Rule.STATED: "the column patient of labels.csv",
            Rule.HEADER: "the DICOM header's patient id, hashed",
            Rule.PATTERN: f"the pattern {self.pattern!r}",
            Rule.KNOWN: "names as in Kermany's set (person12, IM-0115), which nobody declared",
            Rule.NAME: "the file's name, each name being a patient",
        }
        return words[rule]


def attribute(
    names: Sequence[str], patients: Sequence[str], rules: Sequence[Rule], pattern: Pattern | None = None
) -> Attribution:
    """What is told of the rows' patients; the three are of equal length, or there is nothing to tell."""
    by_rule: dict[Rule, tuple[int, int]] = {}
    for rule in Rule:
        owners = [patient for patient, by in zip(patients, rules, strict=False) if by == rule]
        if owners:
            by_rule[rule] = (len(owners), len(set(owners)))
    unknown = [name for name, rule in zip(names, rules, strict=False) if rule == Rule.NAME]
    doubts = [*_looks(unknown), *_crowds(patients)]
    if pattern is not None and unknown:
        doubts.append(f"The pattern {pattern.name!r} matches {len(unknown)} of the names not at all.")
    return Attribution(len(patients), len(set(patients)), by_rule, pattern.name if pattern else None, tuple(doubts))


def _looks(names: Sequence[str]) -> list[str]:
    """That names, each of which makes a patient, look like those of a known set, or begin alike."""
    way = "in the table [patients] of dataset.toml"
    for preset, expression in PRESETS.items():
        found = [match.group(1) for name in names if (match := re.search(expression, name))]
        if found and len(found) >= LIKELY * len(names) and len(set(found)) < len(names):
            return [
                f'The names look like those of {preset}: pattern = "{preset}" {way} would make {len(set(found)):,} '
                f"patients of these {len(names):,} images, which count as {len(set(names)):,} now."
            ]
    beginnings = Counter(re.sub(r"[_-][^_/-]*$", "", _stem(name)) for name in names)
    if sum(count for count in beginnings.values() if count > 1) > len(names) / 2:
        return [
            f"Up to the last _ or - the names have {len(beginnings):,} beginnings for {len(names):,} images: if these "
            f"are patients, say so by a pattern {way}, or by a column patient in labels.csv."
        ]
    return []


def _crowds(patients: Sequence[str]) -> list[str]:
    (_, most), *_ = Counter(patients).most_common(1) or [("", 0)]
    if most <= max(CROWD, CROWD_SHARE * len(patients)):
        return []
    return [f"One patient has {most:,} of {len(patients):,} images: is it a number that stands for many, as ANON?"]
