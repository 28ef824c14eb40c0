"""How versions were made, side by side: recipe, data, and the figures of their own held-out patients."""

from typing import Any

from shared.models.manifest import Manifest

ROWS = ("version", "created_at", "architecture", "parameters", "threshold", "calibration")


def side_by_side(*manifests: Manifest) -> list[tuple[str, list[Any]]]:
    """Each fact with its value in each version, None where a version does not say."""
    described = [_facts(manifest) for manifest in manifests]
    names = list(dict.fromkeys(name for facts in described for name in facts))
    return [(name, [facts.get(name) for facts in described]) for name in names]


def _facts(manifest: Manifest) -> dict[str, Any]:
    values = manifest.model_dump(mode="json", include={*ROWS, "preprocessing", "population", "data", "libraries"})
    facts: dict[str, Any] = {name: values[name] for name in ROWS if name != "calibration"}
    facts |= _flat("calibration", values["calibration"])
    for part in ("preprocessing", "data", "population", "libraries"):
        facts |= _flat(part, values[part])
    return facts


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: each for part, inner in value.items() for key, each in _flat(f"{name}.{part}", inner).items()}
    return {name: value}
