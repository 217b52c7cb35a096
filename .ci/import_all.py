"""Imports every module of the installed nodepert, and checks where it came from.

An installer runs from any folder but the repository: python import_all.py SITE_PACKAGES
"""

import importlib
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
for name in modules:
    origin = importlib.import_module(name).__file__
    if origin is None or site not in Path(origin).resolve().parents:
        sys.exit(f"{name} was imported from {origin}, not from {site}")
if not modules:
    sys.exit(f"{site} has no module of nodepert")
print(f"nodepert {distribution.version}: {len(modules)} modules imported from {site}")
