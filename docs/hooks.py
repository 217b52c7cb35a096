"""Docstrings name things as Sphinx does, :class:`~a.B`: this links them to the reference."""

import re

ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):<code>(~?)([\w.]+)</code>")


def on_page_content(html: str, **_: object) -> str:
    """Called by MkDocs with each page, before mkdocs-autorefs resolves the links."""
    return ROLE.sub(link, html)


def link(found: re.Match[str]) -> str:
    """A link where the reference has the name, else the name."""
    short, name = found.groups()
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{name}"><code>{shown}</code></autoref>'
