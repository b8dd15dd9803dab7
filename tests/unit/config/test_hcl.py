"""Files: what is read, in which order, and what a broken one says."""

import pytest

from bridge.config import load
from bridge.core.errors import ConfigError

RPC = 'integration "a" {{\n  type = "json-rpc"\n  endpoint {{ url = "http://h{0}/" }}\n}}\n'


def _diagnostics(paths, adapters):
    with pytest.raises(ConfigError) as caught:
        load(paths, adapters=adapters, environ={})
    return caught.value.diagnostics


def test_a_directory_is_all_its_hcl_files(tmp_path, adapters):
    """Files of a directory are read in order of name; others in it are not."""
    (tmp_path / "b.hcl").write_text('bridge { name = "x" }')
    (tmp_path / "a.hcl").write_text('log { level = "debug" }')
    (tmp_path / "c.txt").write_text("{{{")
    found = load([tmp_path], adapters=adapters, environ={})
    assert (found.bridge.name, found.log.level) == ("x", "debug")


def test_a_file_named_twice_is_read_once(tmp_path, adapters):
    """A file that is named itself and by its directory is no duplicate."""
    (tmp_path / "a.hcl").write_text('bridge { name = "x" }')
    assert load([tmp_path, tmp_path / "a.hcl"], adapters=adapters, environ={}).bridge.name == "x"


def test_an_empty_file_is_all_defaults(tmp_path, adapters):
    """Nothing has to be said; white space and comments are nothing, a byte order mark is skipped."""
    (tmp_path / "a.hcl").write_bytes(b"\xef\xbb\xbf# nothing\r\n\r\n")
    found = load([tmp_path], adapters=adapters, environ={})
    assert (found.bridge.name, found.bus.mode, found.bus.max_message) == ("bridge", "host", 1 << 20)
    assert found.bridge.stop_with == "system.shutdown"


def test_faults_of_files_are_diagnostics(tmp_path, adapters):
    """Missing, empty, unreadable and foreign input is told, each with its path, together."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.hcl").write_bytes(b'bridge {\n  name = "\xe9"\n}\n')
    (tmp_path / "huge.hcl").write_bytes(b"#" * (5 << 20))
    found = _diagnostics([tmp_path / name for name in ("no.hcl", "empty", "latin.hcl", "huge.hcl")], adapters)
    assert found == (
        f"{tmp_path}/empty: the directory holds no *.hcl file",
        f"{tmp_path}/huge.hcl: is larger than 4 MiB",
        f"{tmp_path}/latin.hcl:2: is not UTF-8 text",
        f"{tmp_path}/no.hcl: there is no such file",
    )


def test_no_file_at_all_is_a_complaint(adapters):
    """An empty list of paths is told, too."""
    assert _diagnostics([], adapters) == ("configuration: no file was named",)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('bridge {\n  name = "x"\n', "2: syntax error: the file ends before a block, bracket or string is closed"),
        ("bridge {\n  name =\n}\n", "2: syntax error: "),
        ("bridge {\n  name = @\n}\n", "2: syntax error: unexpected `@`"),
        (
            'route "r" {\n  where = event.type.startsWith("a")\n}\n',
            "2: syntax error: method form does not parse; write `startsWith(…)`",
        ),
        ('route "r" {\n  where = 1 in [1]\n}\n', "2: syntax error: `in` does not parse; write `contains(list, value)`"),
        ('route "r" {\n  where = event.id -55\n}\n', "2: syntax error: a minus needs a space on both sides"),
        ("bridge {\n  name = <<EOT\nx\n}\n", "2: syntax error"),
    ],
)
def test_a_syntax_error_has_its_line(diagnostics, text, wanted):
    """A file that does not parse is one complaint with the line, and the usual slips have a hint."""
    found = diagnostics(text)
    assert len(found) == 1
    assert found[0].startswith(f"bridge.hcl:{wanted}")


@pytest.mark.parametrize("depth", [60, 400, 3000])
def test_a_nesting_bomb_is_a_complaint(diagnostics, depth):
    """Nested lists neither crash nor hang."""
    found = diagnostics("bus {\n  mode = " + "[" * depth + "]" * depth + "\n}\n")
    assert found == ["bridge.hcl:2: bus > mode: nested more than 48 deep"]


def test_nested_blocks_have_a_limit(diagnostics):
    """Blocks inside blocks have the same limit."""
    found = diagnostics("bus " + "{ curve " * 100 + "{}" + "}" * 100)
    assert any("nested more than 48 deep" in line for line in found)


def test_a_key_given_twice_is_an_error(diagnostics):
    """python-hcl2 would keep the last one silently."""
    found = diagnostics('log {\n  level = "info"\n  level = "debug"\n}\n')
    assert found == ["bridge.hcl:3: log > level: given twice; the first is on line 2"]


def test_a_block_given_twice_names_both_places(diagnostics):
    """Single blocks, labels and inner blocks exist once; the complaint names the other place."""
    found = diagnostics("log {}\nlog {}\n" + RPC.format("") + RPC.format(""))
    assert found[0].startswith("bridge.hcl:2: log: given twice; the first is at ")
    assert found[0].endswith("bridge.hcl:1")
    assert found[1].startswith('bridge.hcl:7: integration "a": given twice; the first is at ')
    assert found[1].endswith("bridge.hcl:3")
    inner = diagnostics(
        'integration "a" {\n  type = "timer"\n  config {\n    every = 1\n  }\n  health {}\n  health {}\n}\n'
    )
    assert [line.split(":")[1] for line in inner] == ["7"]


def test_the_same_label_in_two_files(tmp_path, adapters):
    """Labels are unique over all files."""
    for name in ("a.hcl", "b.hcl"):
        (tmp_path / name).write_text(RPC.format(""))
    found = _diagnostics([tmp_path], adapters)
    assert found == (f'{tmp_path}/b.hcl:1: integration "a": given twice; the first is at {tmp_path}/a.hcl:1',)


def test_blocks_of_others_are_left_alone(load_text):
    """What belongs to a Nemo application is counted and not looked into, whatever it holds."""
    text = """
application "x" { title = foo.bar.baz }
data "a" { source = env.NOT_SET }
data "b" {
  source = [for x in y : x]
  source = 2
}
version = 3
log { format = "json" }
"""
    found = load_text(text)
    assert found.ignored == {"application": 1, "data": 2, "version": 1}
    assert found.log.format == "json"
    assert found.warnings == ()


def test_a_near_miss_of_our_blocks_is_a_warning(load_text):
    """`integratoin` is not ours, so it is left alone, but not in silence."""
    found = load_text('integratoin "x" {}')
    assert found.warnings == (
        "`integratoin` was left alone, it is none of the bridge's blocks (did you mean `integration`?)",
    )


def test_labels_where_they_belong(diagnostics):
    """A block takes as many labels as it takes."""
    assert diagnostics('log "x" {}\nroute {}\nroute "a" "b" {}\nbridge = 1\n') == [
        'bridge.hcl:1: log "x": takes no label; write `log { … }`',
        'bridge.hcl:2: route: takes one label; write `route "name" { … }`',
        'bridge.hcl:3: route "a" "b": takes one label; write `route "name" { … }`',
        "bridge.hcl:4: bridge: is a block; write `bridge { … }`",
    ]


def test_a_complaint_is_one_line(tmp_path, adapters):
    """A name with a line break or a control character in it is quoted in escapes: no terminal obeys it."""
    (tmp_path / "a.hcl").write_text(
        'route "r" {\n  on = "x"\n  integration = "a\n\x1b[31mb"\n  operation = "request"\n}\n'
    )
    found = [line for line in _diagnostics([tmp_path / "a.hcl"], adapters) if "a\\n" in line]
    assert found
    assert "a\\n\\x1b[31mb" in found[0]
    assert all(line.isprintable() for line in found)
