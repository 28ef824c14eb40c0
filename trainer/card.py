"""A version's model card (Mitchell et al., 2019) as Markdown and as HTML, made from its manifest alone."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from shared.models import evidence
from shared.models.manifest import Manifest, Novelty
from shared.statistics import metrics
from trainer import adaptation, plots
from trainer.evidence import rows_of

MARKDOWN_FILE, HTML_FILE = "card.md", "card.html"

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em;color:#111;background:#fff}"
    "table{border-collapse:collapse}td,th{border:1px solid #888;padding:.2em .6em;text-align:left}"
    "img{max-width:100%}pre,td{overflow-wrap:anywhere;white-space:pre-wrap}"
)


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Plot:
    file: str
    title: str


@dataclass(frozen=True)
class Command:
    text: str


@dataclass(frozen=True)
class Points:
    texts: tuple[str, ...]


Block = str | Table | Plot | Command | Points
Section = tuple[str, list[Block]]


def write(folder: Path, manifest: Manifest) -> None:
    """Write both cards into a version's folder, with the plots there inline: a step of a publication."""
    (folder / MARKDOWN_FILE).write_text(markdown(manifest), encoding="utf-8")
    drawn = {name: (folder / name).read_bytes() for name in plots.TITLES if (folder / name).exists()}
    (folder / HTML_FILE).write_text(html(manifest, drawn), encoding="utf-8")


def markdown(manifest: Manifest) -> str:
    """The card as Markdown, with links to the plots that the manifest lists."""
    parts = [f"# Model card: {_marked(manifest.version)}"]
    for heading, blocks in _sections(manifest):
        parts += [f"## {heading}", *(_as_markdown(block) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def html(manifest: Manifest, inline: Mapping[str, bytes] | None = None) -> str:
    """The card as one HTML page, without scripts; PNGs given by name are inlined, others are linked."""
    title = f"Model card: {escape(manifest.version)}"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>"
    ]
    for heading, blocks in _sections(manifest):
        parts += [f"<h2>{escape(heading)}</h2>", *(_as_html(block, inline or {}) for block in blocks)]
    return "\n".join(parts) + "\n</body>\n</html>\n"


def _sections(manifest: Manifest) -> Iterator[Section]:
    yield "Intended use", _intended_use(manifest)
    yield "Data", _data(manifest)
    yield "Population", [_facts(manifest.population)]
    yield "Metrics", list(_metrics(manifest))
    if adaptation.BEFORE in manifest.metrics:
        yield "What fine-tuning changed", _adaptation(manifest)
    if evidence.MEASURED in manifest.metrics:
        yield "Evidence", _evidence(manifest.metrics[evidence.MEASURED])
    drawn: list[Block] = [Plot(name, title) for name, title in plots.TITLES.items() if name in manifest.files]
    if drawn:
        yield "Plots", drawn
    yield "Novelty check", _novelty(manifest.novelty)
    yield "Limits", _limits(manifest)
    yield "How to reproduce", _how_to_reproduce(manifest)
    yield "Libraries", [_facts(manifest.libraries)]


def _intended_use(manifest: Manifest) -> list[Block]:
    return [
        "It sorts chest X-rays so that people read the likely pneumonias first. It is a screening aid, never a "
        "diagnosis, and not a medical device: a person reads every image that matters.",
        _facts(
            {
                "version": manifest.version,
                "made": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
                "architecture": manifest.architecture,
                "parameters": f"{manifest.parameters:,}",
                "input": f"{manifest.preprocessing.width} x {manifest.preprocessing.height} pixels, "
                f"{manifest.preprocessing.channels} channel(s), contrast: {manifest.preprocessing.contrast}",
                "operating threshold": f"PNEUMONIA at a calibrated probability of {manifest.threshold:.4f} or more",
            }
        ),
    ]


def _data(manifest: Manifest) -> list[Block]:
    facts = {name: fact for name, fact in manifest.data.items() if name != "command"}
    licence = facts.pop("licence", None)
    if licence is None:
        return [_facts(facts), "The licence of the data is not recorded."]
    return [_facts(facts), f"Licence of the data: {licence}."]


def _metrics(manifest: Manifest) -> Iterator[Block]:
    for name, measured in manifest.metrics.items():
        if not isinstance(measured, dict) or name == evidence.MEASURED:
            continue
        yield f"Measured on: {name}, {measured.get('images', '?')} images of {measured.get('patients', '?')} patients."
        figures = [(key, measured[key]) for key in metrics.NAMES if metrics.value(measured.get(key)) is not None]
        yield Table(("figure", "value", "95 % interval"), tuple((key, *_figure(figure)) for key, figure in figures))
        called = measured.get("confusion")
        if isinstance(called, dict):
            normal = ("NORMAL", str(called.get("true_negative", "")), str(called.get("false_positive", "")))
            ill = ("PNEUMONIA", str(called.get("false_negative", "")), str(called.get("true_positive", "")))
            yield "Confusion matrix:"
            yield Table(("is", "called NORMAL", "called PNEUMONIA"), (normal, ill))
        others = {key: fact for key, fact in measured.items() if key not in {*metrics.NAMES, "confusion"}}
        if others:
            yield _facts(others)


def _evidence(measured: dict[str, Any]) -> list[Block]:
    return [
        f"Where the network finds what moves its score, on {measured['images']} images of {measured['patients']} "
        "patients who are held out. A network that knows what a covered middle hides looks at the wrong things.",
        Table(("what", "value", "95 % interval", "chance"), tuple(rows_of(measured))),
        f"How: {measured['method']}.",
    ]


def _adaptation(manifest: Manifest) -> list[Block]:
    pairs = [
        ("the site's held-out patients", adaptation.BEFORE, "validation"),
        ("the original held-out patients", adaptation.ORIGINAL_BEFORE, adaptation.ORIGINAL_AFTER),
    ]
    rows = []
    for title, *names in pairs:
        before, after = (manifest.metrics.get(name, {}) for name in names)
        for key in metrics.NAMES:
            was, now = metrics.value(before.get(key)), metrics.value(after.get(key))
            if was is not None and now is not None:
                rows.append((title, key, f"{was:.3f}", f"{now:.3f}", f"{now - was:+.3f}"))
    blocks: list[Block] = [Table(("on", "figure", "before", "after", "change"), tuple(rows))]
    if adaptation.ORIGINAL_AFTER not in manifest.metrics:
        blocks.append(
            "What it lost on its original patients was not measured: `pneumoscreen train --from VERSION --original "
            "DIR` does, if their images are available."
        )
    return blocks


def _figure(figure: Any) -> tuple[str, str]:
    interval = f"{figure['low']:.3f} to {figure['high']:.3f}" if isinstance(figure, dict) else "not recorded"
    return f"{metrics.value(figure):.3f}", interval


def _novelty(check: Novelty | None) -> list[Block]:
    if check is None:
        return ["This version has no novelty check: images that are out of distribution get a probability like any."]
    counts = check.measured.get("pictures", {})
    rows = [("X-rays of patients held out", check.measured.get("held_out_images", "not recorded"), check.flagged)]
    rows += [(name, counts.get(name, "not recorded"), share) for name, share in (check.caught or {}).items()]
    families: Block = (
        "The photographs and other modalities are few, and the documents and other body parts are drawn by a program: "
        "real ones may pass more often."
    )
    if check.caught is None:
        families = (
            "What it flags of images that are no chest X-rays was not measured when it was made: "
            "`pneumoscreen models measure novelty` does."
        )
    return [
        "An image whose distance from the training images is above a limit is called unfamiliar; a person should read "
        "it whatever its probability. The share of each kind that is flagged:",
        Table(
            ("kind", "images", "unfamiliar"), tuple((name, str(count), f"{share:.1%}") for name, count, share in rows)
        ),
        families,
        _facts({"limit": check.limit, "source": check.source, "how": check.measured.get("method", "not recorded")}),
    ]


def _limits(manifest: Manifest) -> list[Block]:
    ages = manifest.population.get("age_years")
    others = f"ages outside {ages['lowest']} to {ages['highest']} years" if ages else "other ages"
    return [
        Points(
            (
                f"Figures will be worse for other hospitals, scanners and {others}: there it may miss pneumonias, and "
                "call healthy people ill. Check it on your own images: `pneumoscreen models evaluate --data DIR`.",
                "It tells pneumonia from no pneumonia as the labels of its data do; it knows no other finding, and "
                "NORMAL does not mean healthy.",
                "Precision and probabilities are those of places where pneumonia is as frequent as in the data: where "
                "it is rarer, both are too high.",
                "The intervals hold for patients like those measured.",
            )
        )
    ]


def _how_to_reproduce(manifest: Manifest) -> list[Block]:
    command = manifest.data.get("command")
    if not command:
        return ["The command that made this version is not recorded."]
    return ["With the data above and the libraries below; weights differ a little between machines.", Command(command)]


def _facts(facts: Mapping[str, Any]) -> Block:
    if not facts:
        return "Nothing is recorded."
    return Table(("what", ""), tuple((str(name).replace("_", " "), _text(fact)) for name, fact in facts.items()))


def _text(fact: Any) -> str:
    if isinstance(fact, float):
        return f"{fact:.4f}"
    if isinstance(fact, dict):
        return ", ".join(f"{str(name).replace('_', ' ')}: {_text(part)}" for name, part in fact.items())
    if isinstance(fact, list | tuple):
        return ", ".join(map(_text, fact))
    return fact if isinstance(fact, str) else json.dumps(fact, default=str)


def _as_markdown(block: Block) -> str:
    match block:
        case Table(columns, rows):
            lines = [columns, tuple("---" for _ in columns), *(tuple(map(_marked, row)) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Plot(file, title):
            return f"![{title}]({file})"
        case Command(text):
            return f"```sh\n{text}\n```"
        case Points(texts):
            return "\n".join(f"- {_marked(text)}" for text in texts)
        case _:
            return _marked(block)


def _marked(text: str) -> str:
    """Text escaped for a Markdown table, and for viewers that render HTML in Markdown."""
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _as_html(block: Block, inline: Mapping[str, bytes]) -> str:
    match block:
        case Table(columns, rows):
            head = "".join(f"<th>{escape(column)}</th>" for column in columns)
            body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"
        case Plot(file, title):
            source = f"data:image/png;base64,{base64.b64encode(inline[file]).decode()}" if file in inline else file
            return f'<p><img src="{escape(source)}" alt="{escape(title)}"></p>'
        case Command(text):
            return f"<pre>{escape(text)}</pre>"
        case Points(texts):
            return "<ul>\n" + "\n".join(f"<li>{escape(text)}</li>" for text in texts) + "\n</ul>"
        case _:
            return f"<p>{escape(block)}</p>"
