"""Known weaknesses of the locked dependencies: pip-audit in an environment of its own, which is thrown away.

Ends with 0 if every locked dependency was looked up and none has a known weakness, else with 1 and a sentence.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
PROGRAM = "pip-audit==2.10.1"
OUT_OF_REACH = "so nothing was audited. It needs the network: try again where it is there"


def main() -> int:
    """`python .ci/audit.py [LOCK]`."""
    lock = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCK
    with tempfile.TemporaryDirectory(prefix="audit-") as name:
        folder = Path(name)
        venv.create(folder, with_pip=True)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", PROGRAM]
        if subprocess.run(install).returncode != 0:
            print(f"{PROGRAM} could not be installed, {OUT_OF_REACH}.")
            return 1
        found = folder / "found.json"
        options = ["--disable-pip", "--progress-spinner", "off", "--format", "json", "--output", str(found)]
        audit = [str(folder / "bin" / "pip-audit"), "--requirement", str(lock), *options]
        said = subprocess.run(audit, capture_output=True, text=True).stderr
        sentences, code = judged(found.read_text(encoding="utf-8") if found.exists() else "", said)
    print(*sentences, sep="\n")
    return code


def judged(report: str, said: str) -> tuple[list[str], int]:
    """What to say of pip-audit's report (JSON, empty if it made none) and of its standard error; and the exit code."""
    if not report:
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        return [f"The advisory database could not be reached, {OUT_OF_REACH}. pip-audit: {last[0]}"], 1
    dependencies = json.loads(report)["dependencies"]
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    if len(skipped) == len(dependencies):
        return [f"The advisory database knows none of the locked dependencies, {OUT_OF_REACH}."], 1
    weak = [
        f"{one['name']} {one['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions']) or 'none'}"
        for one in dependencies
        for weakness in one.get("vulns", [])
    ]
    if skipped:
        weak.append(f"Not looked up, since the advisory database does not know them: {', '.join(skipped)}.")
    return weak or [f"No known weakness in {len(dependencies)} dependencies."], 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
