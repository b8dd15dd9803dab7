"""Recognise the files of a Nemo application, which are no configuration of the bridge."""

import re
from typing import Final

#: Files that a folder with a Nemo application has.
FILES: Final = ("app.nemo", "nemo.toml", "app.xml")
#: The elements with which an `app.nemo`, a component, or an `app.xml` of earlier versions may begin.
_ELEMENTS: Final = frozenset(
    {
        *("app", "components", "data", "import", "imports", "include", "layout", "nemo", "props", "script", "style"),
        *("template", "templates", "themes", "variable"),
    }
)
#: What may stand before the first element: white space, comments, and the declaration of XML.
_BEFORE: Final = re.compile(r"\s+|<!--.*?-->|<\?xml\b.*?\?>", re.DOTALL)
_ELEMENT: Final = re.compile(r"<([A-Za-z][\w-]*)(?=[\s/>])")
#: Characters of a manifest, at most. For one key with 100,000 dots, `tomllib` takes more memory than there is.
_MOST: Final = 8192
#: The keys of a project's manifest, and the heads of its tables.
_MANIFEST: Final = frozenset({"name", "entry", "build", "package", "dependencies"})
#: What a manifest begins with: comments, and one of these keys or a table of that name; in quotes it may be escaped.
_FIRST_KEY: Final = re.compile(rf"(?:[ \t\r\n]|#[^\n]*)*+(?:\[{{1,2}}[ \t]*)?(?:[\"']|{'|'.join(sorted(_MANIFEST))})")
_TABLE: Final = r"^\s*\[(build|package|dependencies)\]\s*(?:#.*)?$"


def recognise(name: str, text: str) -> tuple[int, str] | None:
    """Return the line at which a file shows that it is Nemo's, and by what; None where it may be HCL.

    No HCL is taken for a file of Nemo, however faulty it is: it has neither elements nor heads of tables. Of a manifest
    without tables the content could be HCL, too; there the name decides as well.

    Args:
        name: The file's name.
        text: Its content.
    """
    position = 0
    while found := _BEFORE.match(text, position):
        position = found.end()
    element = _ELEMENT.match(text, position)
    if element is not None:
        line = text.count("\n", 0, position) + 1
        return (line, f"it begins with `<{element[1]}>`") if element[1] in _ELEMENTS else None
    if len(text) > _MOST:
        return None
    if _FIRST_KEY.match(text) is None:
        return None
    import tomllib  # noqa: PLC0415 - most files begin with the name of a block

    try:
        manifest = tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    if not manifest or not manifest.keys() <= _MANIFEST:
        return None
    table = re.search(_TABLE, text, re.MULTILINE)
    if table is not None and isinstance(manifest.get(table[1]), dict):
        return text.count("\n", 0, table.start(1)) + 1, f"it has the table `[{table[1]}]`"
    return (1, "it is a project's manifest") if name.lower() == "nemo.toml" else None
