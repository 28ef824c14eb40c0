"""Variables that Kubernetes and Docker set for their own services, under names that look like settings.

Kubernetes gives every container the address of each service of its namespace, and Docker that of each linked container:
of a service `pneumoscreen` as PNEUMOSCREEN_PORT=tcp://10.0.0.1:5555, PNEUMOSCREEN_SERVICE_HOST and so on.
"""

import re
from collections.abc import Mapping

ADDRESS = r"(tcp|udp|sctp)://\S+"
PORT = r"PORT_\d+_(TCP|UDP|SCTP)"
TELLING = {"PORT": ADDRESS, PORT: ADDRESS, "SERVICE_HOST": r"[\d.]+|[\da-fA-F:]+", "NAME": r"/[^/\s]+/[^/\s]+"}
"""Ends of names, with the values by which they are known as such."""
OTHERS = rf"{PORT}_(PROTO|ADDR|PORT|PORT_START|PORT_END)|SERVICE_PORT(_[A-Z0-9_]+)?|ENV_\w+"
"""Ends of names that are such beside one that is known."""


def find(environment: Mapping[str, str]) -> set[str]:
    """The names of such variables; a variable that only looks like one of them is somebody's own."""
    telling = {}
    for name, value in environment.items():
        for end, values in TELLING.items():
            if (match := re.fullmatch(rf"(\w+_)({end})", name)) and re.fullmatch(values, value):
                telling[name] = match[1]
    services = "|".join(set(telling.values()))
    return {
        name for name in environment if name in telling or (services and re.fullmatch(f"({services})({OTHERS})", name))
    }
