"""Show which files are read, in which order, and the diagnostics of broken ones."""

import os
import time
from pathlib import Path

import pytest

from bridge.config import load
from bridge.core.errors import ConfigError

RPC = 'integration "a" {{\n  type = "json-rpc"\n  endpoint {{ url = "http://h{0}/" }}\n}}\n'


def _diagnostics(paths, adapters):
    with pytest.raises(ConfigError) as caught:
        load(paths, adapters=adapters, environ={})
    return tuple(map(str, caught.value.diagnostics))


def test_a_directory_is_all_its_hcl_files(tmp_path, adapters):
    """The `*.hcl` files of a directory are read in order of name; other files are not read."""
    (tmp_path / "b.hcl").write_text('bridge { name = "x" }')
    (tmp_path / "a.hcl").write_text('log { level = "debug" }')
    (tmp_path / "c.txt").write_text("{{{")
    found = load([tmp_path], adapters=adapters, environ={})
    assert (found.bridge.name, found.log.level) == ("x", "debug")


def test_a_file_named_twice_is_read_once(tmp_path, adapters):
    """A file that is named by itself and by its directory is read once."""
    (tmp_path / "a.hcl").write_text('bridge { name = "x" }')
    assert load([tmp_path, tmp_path / "a.hcl"], adapters=adapters, environ={}).bridge.name == "x"


def test_an_empty_file_is_all_defaults(tmp_path, adapters):
    """An empty file gives the defaults; white space, comments and a byte order mark are skipped."""
    (tmp_path / "a.hcl").write_bytes(b"\xef\xbb\xbf# nothing\r\n\r\n")
    found = load([tmp_path], adapters=adapters, environ={})
    assert (found.bridge.name, found.bus.mode, found.bus.max_message) == ("bridge", "host", 1 << 20)
    assert found.bridge.stop_with == "system.shutdown"


def test_faults_of_files_are_diagnostics(tmp_path, adapters):
    """Missing, empty, oversized and non-text files are all reported together, each with its path."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.hcl").write_bytes(b'bridge {\n  name = "\xe9"\n}\n')
    (tmp_path / "huge.hcl").write_bytes(b"#" * (5 << 20))
    found = _diagnostics([tmp_path / name for name in ("no.hcl", "empty", "latin.hcl", "huge.hcl")], adapters)
    assert found == (
        f"{tmp_path}/empty: the directory holds no *.hcl file",
        f"{tmp_path}/huge.hcl: cannot be read: is larger than 512 KiB",
        f"{tmp_path}/latin.hcl:2: is not UTF-8 text",
        f"{tmp_path}/no.hcl: there is no such file",
    )


def test_no_file_of_a_directory_is_missed(tmp_path, adapters):
    """What cannot be read in a directory is a diagnostic; hidden files and folders are no part of it."""
    (tmp_path / "a.hcl").write_text('log { level = "debug" }')
    (tmp_path / ".#a.hcl").symlink_to("nobody@nowhere.1234")
    (tmp_path / ".b.hcl").write_text("{")
    (tmp_path / "folder.hcl").mkdir()
    assert load([tmp_path], adapters=adapters, environ={}).log.level == "debug"
    (tmp_path / "gone.hcl").symlink_to("missing")
    os.mkfifo(tmp_path / "pipe.hcl")
    assert _diagnostics([tmp_path], adapters) == (
        f"{tmp_path}/gone.hcl: there is no such file",
        f"{tmp_path}/pipe.hcl: cannot be read: is not a regular file",
    )


def test_no_file_at_all_is_a_diagnostic(adapters):
    """An empty list of paths is reported."""
    assert _diagnostics([], adapters) == ("configuration: no file was named",)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('bridge {\n  name = "x"\n', "1: bridge: this block is not closed; a `}` is missing"),
        (
            "bridge {\n  name =\n}\n",
            "2: bridge > name: the value is missing; write it behind `name =`, on the same line",
        ),
        ("bridge {\n  name = @\n}\n", "2: bridge > name: unexpected `@`"),
        (
            'variable "r" {\n  default = event.type.startsWith("a")\n}\n',
            '2: variable "r" > default: a function after a dot is not supported; write `startsWith(…)`',
        ),
        (
            'variable "r" {\n  default = 1 in [1]\n}\n',
            '2: variable "r" > default: `in` is not supported; write `contains(list, value)`',
        ),
        (
            'variable "r" {\n  default = event.id -55\n}\n',
            '2: variable "r" > default: a minus needs a space on both sides',
        ),
        (
            "bridge {\n  name = <<EOT\nx\n}\n",
            "2: bridge: this text has no end; write `EOT` on a line of its own behind it",
        ),
    ],
)
def test_a_syntax_error_has_its_line(diagnostics, text, wanted):
    """A file that cannot be parsed is one diagnostic with the line; common mistakes get a hint."""
    found = diagnostics(text)
    assert len(found) == 1
    assert found[0].startswith(f"bridge.hcl:{wanted}")


@pytest.mark.parametrize("depth", [60, 400, 3000])
def test_a_nesting_bomb_is_a_diagnostic(diagnostics, depth):
    """Deeply nested lists are one diagnostic; they neither crash nor hang the loader."""
    found = diagnostics("bus {\n  mode = " + "[" * depth + "]" * depth + "\n}\n")
    assert found == ["bridge.hcl:2: bus > mode: nested more than 48 deep"]


def test_nested_blocks_have_a_limit(diagnostics):
    """Blocks inside blocks have the same limit of depth."""
    found = diagnostics("bus " + "{ curve " * 100 + "{}" + "}" * 100)
    assert any("nested more than 48 deep" in line for line in found)


def test_a_key_given_twice_is_an_error(diagnostics):
    """A key that is given twice is a diagnostic; python-hcl2 would silently keep the last one."""
    found = diagnostics('log {\n  level = "info"\n  level = "debug"\n}\n')
    assert found == ["bridge.hcl:3: log > level: given twice; the first is on line 2"]


def test_a_block_given_twice_names_both_locations(diagnostics):
    """A single block, a label or an inner block given twice is a diagnostic that names both locations."""
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
    """A label is unique over all files."""
    for name in ("a.hcl", "b.hcl"):
        (tmp_path / name).write_text(RPC.format(""))
    found = _diagnostics([tmp_path], adapters)
    assert found == (f'{tmp_path}/b.hcl:1: integration "a": given twice; the first is at {tmp_path}/a.hcl:1',)


def test_blocks_of_others_are_ignored(load_text):
    """Blocks of a Nemo application are counted and not read, whatever they hold."""
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


def test_labels_where_they_belong(diagnostics):
    """A wrong number of labels is a diagnostic."""
    assert diagnostics('log "x" {}\nroute {}\nroute "a" "b" {}\nbridge = 1\n') == [
        'bridge.hcl:1: log "x": takes no label; write `log { … }`',
        'bridge.hcl:2: route: takes one label; write `route "name" { … }`',
        'bridge.hcl:3: route "a" "b": takes one label; write `route "name" { … }`',
        "bridge.hcl:4: bridge: is a block; write `bridge { … }`",
    ]


def test_a_diagnostic_is_one_line(tmp_path, adapters):
    """Line breaks and control characters in a quoted name are escaped, so a diagnostic is one line."""
    (tmp_path / "a.hcl").write_text(
        'route "r" {\n  on = "x"\n  integration = "a\n\x1b[31mb"\n  operation = "request"\n}\n'
    )
    found = [line for line in _diagnostics([tmp_path / "a.hcl"], adapters) if "a\\n" in line]
    assert found
    assert "a\\n\\x1b[31mb" in found[0]
    assert all(line.isprintable() for line in found)


@pytest.mark.parametrize("count", [100, 1000, 10_000])
@pytest.mark.parametrize("inner", ["1", "event.payload.id", "event.payload.id + 1"])
def test_any_number_of_parentheses(load_text, count, inner):
    """Parentheses around an expression have no meaning, however many there are."""
    text = f"""
integration "rpc" {{
  type = "json-rpc"
  endpoint {{
    url = "https://h/rpc"
  }}
}}
route "r" {{
  on          = "a"
  integration = "rpc"
  operation   = "request"
  method      = "m"
  params      = {"(" * count}{inner}{")" * count}
}}
"""
    (route,) = load_text(text).routes
    assert route.params.evaluate({"event": {"payload": {"id": 1}}}) == (2 if "+" in inner else 1)


#: How each kind of nesting begins and ends.
NESTINGS = {
    "list": ("[", "]"),
    "map": ("{a = ", "}"),
    "sum": ("1 + ", ""),
    "conditional": ("true ? 1 : ", ""),
    "call": ("lower(", ")"),
    "call in parentheses": ("(lower(", "))"),
    "template": ('"${', '}"'),
}


@pytest.mark.parametrize("kind", NESTINGS)
def test_what_is_nested_too_deep_is_one_diagnostic(diagnostics, kind):
    """Everything else that is nested too deep is a diagnostic at its line, and no traceback."""
    begin, end = NESTINGS[kind]
    found = diagnostics(f'variable "x" {{\n  default = {begin * 2000}1{end * 2000}\n}}\n')
    assert 'bridge.hcl:2: variable "x" > default: nested more than 48 deep' in found


def test_a_long_quotation_is_shortened(diagnostics):
    """A diagnostic quotes no more than a person reads."""
    (found,) = diagnostics(f'variable "x" {{\n  default = <<X\n{"${" * 5000}1{"}" * 5000}\nX\n}}\n')
    assert len(found) < 800
    assert found.endswith("cannot be parsed")


TOO_LARGE = "a configuration has at most 100,000 names, values and signs in all its files"
#: What is dear to parse for its size, and where the end of the budget is noticed.
DEAR = {
    "blocks": ("a {}\n" * 100_000, ":23048"),
    "sum": (f"bridge {{\n  name = {'1+' * 200_000}1\n}}\n", ":2"),
    "list": (f"bridge {{\n  name = [{'1,' * 200_000}]\n}}\n", ":2"),
    "path": (f"bridge {{\n  name = a{'.a' * 200_000}\n}}\n", ":2"),
    "templates": (f"bridge {{\n  name = <<X\n{'${1}' * 100_000}\nX\n}}\n", ":3: bridge > name"),
}


@pytest.mark.parametrize("kind", DEAR)
def test_a_configuration_is_parsed_up_to_a_limit(diagnostics, kind):
    """What would take a minute and much memory to parse is one diagnostic, at the line where the limit is reached."""
    text, place = DEAR[kind]
    assert diagnostics(text) == [f"bridge.hcl{place}: {TOO_LARGE}"]


def test_all_files_share_the_limit(tmp_path, adapters):
    """Many files are limited like one; those after the limit are not read, and that is said once."""
    for number in range(12):
        (tmp_path / f"{number}.hcl").write_text("#" * 400_000 + "\n" + "a {}\n" * 950)
    assert _diagnostics([tmp_path], adapters) == (f"{tmp_path}/7.hcl:637: {TOO_LARGE}",)


def test_long_texts_count_as_well(tmp_path, adapters):
    """Files of comments are limited, too: their text costs time."""
    for number in range(20):
        (tmp_path / f"{number}.hcl").write_text("#" * 500_000)
    assert _diagnostics([tmp_path], adapters)[0].endswith(TOO_LARGE)


def test_no_name_is_proposed_among_too_many(diagnostics):
    """Looking for what was meant takes no time that grows with the square of the file, or with the length of names."""
    start = time.process_time()
    rpc = 'integration "{}" {{\n  type = "json-rpc"\n  endpoint {{ url = "http://h" }}\n}}\n'
    route = 'route "{}" {{\n  on = "a"\n  integration = "hgfedcba{}"\n  operation = "request"\n  method = "m"\n}}\n'
    text = "".join(rpc.format(f"abcdefgh{n}") + route.format(n, n) for n in range(1000))
    assert len(diagnostics(text)) == 1000
    assert time.process_time() - start < 10
    long = "ab" * 20_000
    assert "did you mean" not in "".join(diagnostics(f"bridge {{\n  {long} = 1\n}}\n"))


def test_a_pipe_is_no_configuration(tmp_path, adapters):
    """A pipe or a device in place of a file is refused at once."""
    os.mkfifo(tmp_path / "bridge.hcl")
    for path in (tmp_path / "bridge.hcl", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="cannot be read: is not a regular file"):
            load([path], adapters=adapters, environ={})
