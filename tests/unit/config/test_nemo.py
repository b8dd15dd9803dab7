"""Show that a Nemo application's own files are told apart from faulty HCL."""

import tracemalloc

import pytest

from bridge.config import load
from bridge.config.nemo import recognise
from bridge.core.errors import ConfigError

_APP = """
<!-- An application.
     It has <template> elements. -->
<app title="Shop">
  <window title="Shop" />
</app>
<template name="app"><label id="x" text="a" /></template>
"""
_MANIFEST = """# A project.
name = "shop"

[build]
out = "dist"
"""
_HCL = 'bridge {\n  name = "shop"\n}\n'


def _complaints(*paths):
    with pytest.raises(ConfigError) as caught:
        load(paths, adapters={}, environ={})
    return tuple(map(str, caught.value.diagnostics))


@pytest.mark.parametrize(
    ("name", "text", "line", "why"),
    [
        ("app.nemo", _APP, 4, "it begins with `<app>`"),
        ("bridge.hcl", _APP, 4, "it begins with `<app>`"),
        ("app.nemo", "\ufeff<script src='./s' />\n<data>", 1, "it begins with `<script>`"),
        ("card.nemo", "<template>\n</template>", 1, "it begins with `<template>`"),
        ("app.nemo", "<app", None, None),
        ("app.nemo", "<app >", 1, "it begins with `<app>`"),
        ("app.xml", '<?xml version="1.0"?>\n<nemo>\n', 2, "it begins with `<nemo>`"),
        ("nemo.toml", _MANIFEST, 4, "it has the table `[build]`"),
        ("other", _MANIFEST, 4, "it has the table `[build]`"),
        ("nemo.toml", 'name = "shop"', 1, "it is a project's manifest"),
    ],
)
def test_a_file_of_nemo(tmp_path, name, text, line, why):
    """It is recognised by its content, whatever its name, and the complaint says what the bridge takes."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    (told,) = _complaints(file)
    if line is None:
        assert told.startswith(f"{file}:1: this is neither a key with a value nor a block")
    else:
        assert told.startswith(f"{file}:{line}: this is Nemo's own file ({why}); the bridge's configuration is HCL")


@pytest.mark.parametrize(
    "text",
    [
        "<<<<<<< HEAD\nbridge {\n}\n=======\n>>>>>>> other\n",
        "bridge <app> {\n}\n",
        "<bridge>\n</bridge>\n",
        "<html>\n<app>\n",
        "<!-- only a comment\n<app>\n",
        "< app >\n",
        "# bridge\n[bridge]\nname = 1\n",
        '[build]\n[integration]\nname = "x"\n',
        'name = "x"\nbridge {\n',
        "bridge {\n  name = <<E\n<app>\nE\n",
        "/* <app> */ bridge {",
    ],
)
def test_faulty_hcl_is_not_taken_for_it(tmp_path, text):
    """Whatever is wrong with a file, it is called Nemo's only where it begins as one."""
    file = tmp_path / "bridge.hcl"
    file.write_text(text)
    assert all("Nemo" not in told for told in _complaints(file))


@pytest.mark.parametrize("text", ['name = "x"\nbuild = { out = "dist" }\n' + _HCL, "\n" + _HCL])
@pytest.mark.parametrize("name", ["nemo.toml", "app.nemo"])
def test_hcl_by_any_name(tmp_path, name, text):
    """A file with the bridge's blocks is its configuration, whatever its name."""
    file = tmp_path / name
    file.write_text(text)
    assert load([file], adapters={}, environ={}).bridge.name == "shop"


def test_a_directory_with_both(tmp_path):
    """Of a directory, the `*.hcl` files are read; without one, what is Nemo's is named."""
    (tmp_path / "app.nemo").write_text(_APP)
    (tmp_path / "nemo.toml").write_text(_MANIFEST)
    (told,) = _complaints(tmp_path)
    assert told.startswith(
        f"{tmp_path}: the directory holds no *.hcl file; `app.nemo` is Nemo's own file, and the bridge"
    )
    (tmp_path / "bridge.hcl").write_text(_HCL)
    assert load([tmp_path], adapters={}, environ={}).bridge.name == "shop"


def test_a_key_of_many_parts_costs_little():
    """A TOML parser's memory grows with the square of a key's length; a file that is large is no manifest."""
    tracemalloc.start()
    try:
        assert recognise("bridge.hcl", ".".join("a" * 6000) + " = 1") is None
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
