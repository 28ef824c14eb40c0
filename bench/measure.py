"""One measurement in a process of its own: `python -m bench.measure MODULE FILES WORK ARGUMENTS`.

MODULE is one of this package with a function `measure(files, work, **arguments)` that returns its figures by name;
ARGUMENTS are those, in JSON. The figures are printed in JSON too.
"""

import json
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    module, files, work, arguments = sys.argv[1:]
    figures = import_module(f"bench.{module}").measure(Path(files), Path(work), **json.loads(arguments))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
