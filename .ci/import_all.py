"""Imports every module of the installed nodepert, and checks where it came from.

An installer runs from any folder but the repository: python import_all.py SITE_PACKAGES
Modules of an extra that is not installed are named and left out.
"""

import importlib
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

site = Path(sys.argv[1]).resolve()
(distribution,) = distributions(name="nodepert", path=[str(site)])
modules = sorted(
    ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    for file in distribution.files or ()
    if file.suffix == ".py" and file.parts[0] == "nodepert" and file.name != "__main__.py"
)
extras = {
    re.split(r"[^\w.-]", line)[0].replace("-", "_")
    for line in distribution.requires or ()
    if "extra ==" in line
}
for name in modules:
    try:
        origin = importlib.import_module(name).__file__
    except ModuleNotFoundError as error:
        if error.name not in extras:
            raise
        print(f"{name} left out: {error}")
        continue
    if origin is None or site not in Path(origin).resolve().parents:
        sys.exit(f"{name} was imported from {origin}, not from {site}")
if not modules:
    sys.exit(f"{site} has no module of nodepert")
print(f"nodepert {distribution.version}: {len(modules)} modules imported from {site}")
