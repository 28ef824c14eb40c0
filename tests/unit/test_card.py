import re
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.imaging import Preprocessing
from shared.models import manifest, registry
from shared.models.manifest import Manifest
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import card, plots
from trainer.packaging import publish

HEADINGS = ("Intended use", "Data", "Population", "Metrics")
FURTHER = ("Novelty check", "Limits", "How to reproduce", "Libraries")


@pytest.fixture(scope="module")
def answers() -> Answers:
    generator = np.random.default_rng(0)
    labels = np.tile(np.array([0, 1], np.uint8), 100)
    logits = 2.0 * labels - 1 + generator.normal(size=200)
    probabilities = 1 / (1 + np.exp(-logits))
    return Answers(labels, logits, probabilities, probabilities >= 0.5, tuple(f"p{number}" for number in range(200)))


def described(answers: Answers, **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "version": "screen-20260504-0a1b2c3d",
        "created_at": datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
        "exports": ({"engine": "keras", "file": "network.keras"},),
        "architecture": "screen",
        "parameters": 535_153,
        "preprocessing": Preprocessing(width=160, height=160),
        "threshold": 0.25,
        "metrics": {
            "validation": {
                **metrics.measure(answers, rounds=100),
                "confusion": metrics.confusion(answers),
                "images": 200,
                "patients": 200,
            }
        },
        "population": {"description": "children", "age_years": {"lowest": 1, "highest": 5}},
        "data": {"source": "somewhere", "licence": "CC BY 4.0", "command": "pneumoscreen train --seed 1"},
        "libraries": {"keras": "3.15.1"},
        "files": {"network.keras": "0" * 64, "roc.png": "0" * 64},
    }
    return Manifest(**values | changes)


def test_the_pictures_are_small_pngs_of_a_size_to_be_read(answers: Answers) -> None:
    drawn = plots.draw(answers)
    assert set(drawn) == set(plots.TITLES) == {"roc.png", "calibration.png", "confusion.png"}
    for name, content in drawn.items():
        image = Image.open(BytesIO(content))
        assert image.format == "PNG"
        assert 300 <= min(image.size) <= max(image.size) <= 1000
        assert len(content) < 60_000, name
        assert np.asarray(image.convert("L")).std() > 5, "blank"


def test_the_same_answers_give_the_same_pictures_without_a_time_in_them(answers: Answers) -> None:
    first, second = plots.draw(answers), plots.draw(answers)
    assert first == second
    assert all(set(Image.open(BytesIO(content)).info) <= {"dpi"} for content in first.values())


def test_the_plots_do_not_follow_the_users_own_style_of_matplotlib(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file `matplotlibrc` in the working folder sets it."""
    import matplotlib

    drawn = plots.draw(answers)
    for name in ("font.size", "axes.linewidth"):
        monkeypatch.setitem(matplotlib.rcParams, name, 30.0)
    assert plots.draw(answers) == drawn
    assert matplotlib.rcParams["font.size"] == 30.0


def test_a_perfect_version_on_few_images_can_be_drawn() -> None:
    labels = np.array([0, 1], np.uint8)
    sure = labels.astype(float)
    assert plots.draw(Answers(labels, sure, sure, labels == 1, ("a", "b")))


def test_a_card_has_every_heading_in_both_forms(answers: Answers) -> None:
    found = described(answers)
    assert re.findall(r"^## (.*)$", card.markdown(found), re.M) == [*HEADINGS, "Plots", *FURTHER]
    assert re.findall(r"<h2>(.*)</h2>", card.html(found)) == [*HEADINGS, "Plots", *FURTHER]


def test_a_card_tells_use_licence_figures_limits_and_how_to_make_it_again(answers: Answers) -> None:
    found = described(answers)
    recall = found.metrics["validation"]["recall"]
    for text in (card.markdown(found), card.html(found)):
        assert "never a diagnosis" in text
        assert "CC BY 4.0" in text
        assert f"{recall['value']:.3f}" in text
        assert f"{recall['low']:.3f} to {recall['high']:.3f}" in text
        assert str(found.metrics["validation"]["confusion"]["true_positive"]) in text
        assert "pneumoscreen train --seed 1" in text
        assert "ages outside 1 to 5 years" in text
        assert "roc.png" in text
        assert "confusion.png" not in text, "the manifest does not vouch for it"


def test_a_card_of_the_version_that_comes_with_the_program_can_be_made() -> None:
    found = manifest.read(registry.bundled())
    text = card.markdown(found)
    assert "Kermany" in text
    assert f"| auc | {metrics.value(found.metrics['validation']['auc']):.3f} |" in text


def test_what_the_manifest_says_is_text_and_never_markup(answers: Answers) -> None:
    evil = "<script>alert('x')</script> | cell"
    found = described(answers, population={"description": evil}, data={"command": evil, evil: evil})
    for text in (card.html(found), card.markdown(found).replace(f"```sh\n{evil}\n```", "")):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
    assert not re.search(r"(?<!\\)\| cell", card.markdown(found).replace(f"```sh\n{evil}\n```", ""))


def test_a_card_says_what_is_not_recorded(answers: Answers) -> None:
    text = card.markdown(described(answers, data={}, population={}))
    assert "licence of the data is not recorded" in text
    assert "command that made this version is not recorded" in text


def test_a_card_shows_the_check_for_unfamiliar_pictures_of_a_version_that_has_one(answers: Answers) -> None:
    check = manifest.Novelty(
        source="Lee et al., 2018",
        file="novelty.npz",
        limit=1.5,
        flagged=0.017,
        caught={"photographs": 0.97, "upside down": 1.0},
        measured={"held_out_images": 784, "pictures": {"photographs": 99}},
    )
    text = card.markdown(described(answers, novelty=check))
    assert "| X-rays of patients held out | 784 | 1.7% |" in text
    assert "| photographs | 99 | 97.0% |" in text
    assert "| upside down | not recorded | 100.0% |" in text
    assert "Lee et al., 2018" in text


def test_a_card_says_that_a_version_has_no_novelty_check(answers: Answers) -> None:
    text = card.markdown(described(answers))
    assert "has no novelty check" in text


def test_the_html_is_well_formed_and_needs_nothing_from_elsewhere(answers: Answers, tmp_path: Path) -> None:
    files = dict.fromkeys(("network.keras", *plots.TITLES), "0" * 64)
    plots.write(tmp_path, answers)
    card.write(tmp_path, described(answers, files=files))
    page = (tmp_path / card.HTML_FILE).read_text()
    open_tags: list[str] = []
    sources: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "img":
                sources.append(dict(attrs)["src"] or "")
            elif tag != "meta":
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert open_tags == []
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "![ROC curve](roc.png)" in (tmp_path / card.MARKDOWN_FILE).read_text()


def test_a_version_is_published_with_its_pictures_and_its_card(answers: Answers, tmp_path: Path) -> None:
    def describe(version: str, files: dict[str, str]) -> Manifest:
        return described(answers, version=version, files=files)

    def save(path: Path) -> None:
        path.write_bytes(b"weights, as far as this test goes")

    day = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    folder = publish(tmp_path, "screen", day, save, describe, [plots.accompany(answers), card.write])
    found = manifest.read(folder)
    assert set(found.files) == {"network.keras", *plots.TITLES, card.MARKDOWN_FILE, card.HTML_FILE}
    assert (folder / card.MARKDOWN_FILE).read_text() == card.markdown(found), "it can be made again from the manifest"
    assert folder.name in (folder / card.HTML_FILE).read_text()


def test_matplotlib_is_imported_when_a_picture_is_drawn_and_not_before() -> None:
    look = "import sys; from cli import evaluate; from trainer import card; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
