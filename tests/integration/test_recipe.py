"""The recipe of docs/dicom.md, step by step as it is written, with other ports."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from local.private_broker import free_port
from tests.orthanc import Orthanc, need, need_orthanc
from tests.system import running

TOP = Path(__file__).parents[2]
SECTION = (TOP / "docs" / "dicom.md").read_text().partition("## Try it with Orthanc\n")[2].partition("\n## ")[0]


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


class FromRecipe(Orthanc):
    """Orthanc with the file of the recipe, in which ports alone are exchanged."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        chosen: dict[str, Any] = json.loads(with_ports(block("json"), ports))
        super().__init__(folder)
        self.dicom_port, self.http_port = chosen["DicomPort"], chosen["HttpPort"]
        self.client.base_url = self.url
        (folder / "orthanc.json").write_text(json.dumps(chosen))
        (folder / "route.lua").write_text(block("lua"))


def with_ports(text: str, ports: dict[str, str]) -> str:
    for written, free in ports.items():
        text = text.replace(written, free)
    return text


@pytest.mark.soak
def test_the_recipe_with_orthanc_brings_each_image_a_report_and_a_capture_as_it_is_written(tmp_path: Path) -> None:
    need_orthanc()
    need("dcmsend")
    ports = {written: str(free_port()) for written in ("4242", "8042", "11112")}
    home = tmp_path / "home"
    home.mkdir()
    settings = with_ports(block("toml"), ports)
    settings = settings.replace('kind = "dicom"\n', f'kind = "dicom"\nport = {ports["11112"]}\n', 1)
    (home / "pneumoscreen.toml").write_text(settings)
    pacs = FromRecipe(tmp_path / "orthanc", ports)
    try:
        pacs.start()
        with running(tmp_path, inbox=False, settings={}) as system:
            system.wait(lambda: "network on" in system.command("sources").stdout, "the node, as `sources` shows it")
            (command,) = re.findall(r"^(dcmsend .*?)(?: +#.*)?$", block("sh"), re.MULTILINE)
            sent = subprocess.run(with_ports(command, ports), shell=True, cwd=TOP, env=os.environ, timeout=60)
            assert sent.returncode == 0
            studies = {
                str(dcmread(file, stop_before_pixels=True).StudyInstanceUID) for file in TOP.glob("samples/*.dcm")
            }

            def is_answered() -> bool:
                return all([len(pacs.instances_of(each, kind)) for kind in ("SR", "OT")] == [1, 1] for each in studies)

            system.wait(is_answered, "report and capture in each study")
            assert dict(system.query("SELECT state, count(*) FROM results GROUP BY state")) == {"done": len(studies)}
    finally:
        pacs.close()
