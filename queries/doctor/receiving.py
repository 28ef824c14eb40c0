"""Sources of the kind `dicom`: the folder for what is received, and the files of TLS."""

import os
from collections.abc import Iterator

from queries.doctor.finding import Finding, ok, problem, user
from shared.base.dicom_settings import LOOPBACK, DicomSettings
from shared.base.filesystem import MARKER
from shared.sources.folder.marker import why_away


def examine(name: str, chosen: DicomSettings, *, is_at_home: bool) -> list[Finding]:
    return [_folder(f"source {name}: folder", chosen, is_at_home=is_at_home), *_tls(f"source {name}: TLS", chosen)]


def _folder(check: str, chosen: DicomSettings, *, is_at_home: bool) -> Finding:
    root = chosen.path
    if not root.is_dir():
        if is_at_home:
            return ok(check, f"the node makes {root} when it starts")
        return problem(check, f"there is no folder {root}", "make it, or mount its share")
    if not os.access(root, os.W_OK | os.X_OK):
        return problem(check, f"{user()} may not write into {root}, where received images go", f"chown {user()} {root}")
    if why := why_away(root, MARKER):
        return ok(check, f"{root} can be written ({why}: the node writes it when it starts)")
    return ok(check, f"{root} can be written")


def _tls(check: str, chosen: DicomSettings) -> Iterator[Finding]:
    files = [file for file in (chosen.tls_certificate, chosen.tls_key, chosen.tls_clients) if file is not None]
    for file in files:
        if not os.access(file, os.R_OK):
            yield problem(check, f"{user()} may not read {file}, or there is none", "mend its path or its rights")
            return
    if files:
        yield ok(check, "certificate, key and the senders' authority can be read")
    elif chosen.host not in LOOPBACK:
        yield ok(check, "images come unencrypted, from the addresses in allowed_addresses alone")
