"""The documentation leads somewhere, and says what is so."""

import plistlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.config import load
from bridge.observe import episodes, problems
from bridge.registry import AdapterRegistry
from tests.support.bus.curve import KeyRing

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: Pages whose blocks other tests read: one adapter word for word, the plugin for Nemo, and tests of a configuration.
ELSEWHERE = {"adapters.md", "nemo.md", "testing.md"}


def text_of(page: Path) -> str:
    """A page without its blocks of code and its code in lines."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> Iterator[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    seen: dict[str, int] = {}
    for title in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures(page: Path):
    """Each link to a file of the project finds it, and each link into a page finds its heading."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_every_page_is_in_the_contents():
    """Each page is in a table of contents of the first page, and what is there exists."""
    index = (DOCS / "index.md").read_text("utf-8")
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", index, re.MULTILINE | re.DOTALL)
    named = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted([*named, "index"]) == sorted(page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES)


def test_included_files_exist():
    """Each file that a page shows is there."""
    for page in PAGES:
        for name in re.findall(r"^```\{(?:literal)?include\} (\S+)$", page.read_text("utf-8"), re.MULTILINE):
            assert (page.parent / name).is_file(), f"{page.name}: {name}"


def configurations() -> Iterator[tuple[str, str]]:
    """The blocks of HCL of all pages, each with a name."""
    for page in PAGES:
        if page.name not in ELSEWHERE:
            found = re.findall(r"^```hcl\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
            yield from ((f"{page.stem}-{number}", block) for number, block in enumerate(found, 1))


CONFIGURATIONS = dict(configurations())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_are_good(name: str, tmp_path: Path):
    """Each block of HCL stands as a file of its own, without complaint or warning."""
    block = CONFIGURATIONS[name]
    if "curve {" in block:
        KeyRing(tmp_path / "keys")
    file = tmp_path / "block.hcl"
    file.write_text(block)
    environ = dict.fromkeys(re.findall(r"\benv\.(\w+)", block), "a secret of some length")
    found = load([file], adapters=AdapterRegistry(bundled=True), environ=environ)
    assert found.warnings == ()
    assert found.ignored == {}


def test_the_thresholds_of_problems_are_those_of_the_code():
    """What the page on operation says makes a problem does make one."""
    page = (DOCS / "operation.md").read_text("utf-8")
    for text in (
        f"| {problems.MANY} or more failed in the last minute, and at least one of {problems.ONE_OF} that ended |",
        f"| the oldest has waited for more than {problems.LONG / 1000:g} seconds |",
        f"still connects for the first time after more than {problems.LONG_CONNECT / 1000:g} seconds |",
        f"over when it has not happened again for {episodes.OVER / 60:g} minutes |",
        f"At most {problems.MOST} problems are told,",
    ):
        assert text in page


def test_the_errors_of_troubleshooting_exist():
    """Each text that the page quotes is one of the bridge's, so far as it is the same each time."""
    page = (DOCS / "troubleshooting.md").read_text("utf-8").split("\n## By error text\n")[1]
    texts = [row for row in re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE) if row != "text"]
    assert len(texts) > 15
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "bridge").rglob("*.py"))).replace("`", "")
    for text in texts:
        plain = text.replace("`", "").replace("…, …", "…")
        for piece in re.split(r"…|HOST:PORT|: Connection refused|: Name or service not known", plain):
            assert piece.strip(" ,;:") in source, text


def test_the_property_list_for_macos():
    """The file for launchd is well-formed, and starts the bridge again after a crash only."""
    page = (DOCS / "deployment.md").read_text("utf-8")
    (block,) = re.findall(r"^```xml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = plistlib.loads(block.encode())
    assert found["ProgramArguments"][1] == "run"
    assert found["KeepAlive"] == {"SuccessfulExit": False}
