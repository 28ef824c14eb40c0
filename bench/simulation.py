"""Many worker processes on few cores: a stub that sleeps takes the network's place, all else is real."""

from pathlib import Path

from bench import system

STUB = Path(__file__).parent / "stub"


def measure(files: Path, work: Path, processes: int, stub_seconds: float = 0.0) -> dict[str, float]:
    """`stub_seconds` is what the stub takes for an image; small batches, so that the rows come evenly.

    A part's ceiling is what it could carry with a core for itself.
    """
    variables = {"PYTHONPATH": str(STUB), "STUB_SECONDS": str(stub_seconds), "PNEUMOSCREEN_PROCESSES": str(processes)}
    if stub_seconds:
        variables |= {"PNEUMOSCREEN_BATCH_SIZE": "8", "PNEUMOSCREEN_MESSAGE_SIZE": "16"}
    figures = system.measure(files, work, variables)
    ceilings = {part: figures[f"{part}_cpu_ms_per_image"] for part in ("producer", "broker")}
    return figures | {f"{part}_ceiling_images_per_second": 1000 / ms for part, ms in ceilings.items() if ms}
