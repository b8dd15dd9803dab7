"""Explain each code of a diagnostic: what it means, an example that is wrong, and the right one.

`nemo-bridge explain` prints this, and the documentation is made of it. A test loads every example. They use two
integrations, `shop` (JSON-RPC) and `events` (MQTT), unless they have one of their own.
"""

from typing import Final

import msgspec

from bridge.core.diagnostic import Code


class Explanation(msgspec.Struct, frozen=True):
    """What a code means.

    Attributes:
        title: What is wrong, in a few words.
        text: What it means and what to do, in one paragraph.
        wrong: A part of a file that has it; empty where a file alone cannot show it.
        right: The same without the fault.
    """

    title: str
    text: str
    wrong: str = ""
    right: str = ""


_ROUTE: Final = """\
route "orders" {{
  on          = ["order.*"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
{}}}
"""


def _route(*lines: str) -> str:
    return _ROUTE.format("".join(f"  {line}\n" for line in lines))


_FABRIC: Final = """\
integration "cluster" {
  type = "nats"
  endpoint {
    url = "nats://localhost:4222"
  }
}
fabric "plant" {
  integration = "cluster"
  node        = "desk-7"
  export      = ["order.**"]
}
"""


def _ticks(fabric: str) -> str:
    return (
        'integration "clock" {\n  type = "timer"\n  config {\n    every = "1h"\n  }\n}\n'
        f'subscription "ticks" {{\n  integration = "clock"\n  topic       = "*"\n  singleton   = "{fabric}"\n}}\n'
    )


def _shop(*lines: str, rest: str = "") -> str:
    inside = "".join(f"    {line}\n" for line in lines)
    return f'integration "shop" {{\n  type = "json-rpc"\n  endpoint {{\n{inside}  }}\n{rest}}}\n'


def _subscription(name: str, qos: int) -> str:
    return (
        f'subscription "{name}" {{\n  integration = "events"\n  topic       = "metrics/#"\n'
        f'  qos         = {qos}\n  emit        = "data.{name}"\n}}\n'
    )


def _metrics(*lines: str, name: str = "metrics", topic: str = "metrics/#") -> str:
    inside = "".join(f"  {line}\n" for line in lines)
    return f'subscription "{name}" {{\n  integration = "events"\n  topic       = "{topic}"\n{inside}}}\n'


def _events(*lines: str) -> str:
    inside = "".join(f"    {line}\n" for line in lines)
    head = 'integration "events" {\n  type = "mqtt"\n  endpoint {\n    url = "mqtt://localhost"\n  }\n'
    return f"{head}  config {{\n{inside}  }}\n}}\n"


EXPLANATIONS: Final[dict[Code, Explanation]] = {
    Code.UNREADABLE_FILE: Explanation(
        "A file of the configuration cannot be read",
        "There is no such file, the bridge may not read it, it is no regular file, it is larger than 512 KiB, or it is"
        " not UTF-8 text. Of a directory, all files that end in `.hcl` are read; there must be at least one.",
    ),
    Code.FILE_OF_NEMO: Explanation(
        "The file is one of Nemo's own",
        "An application's `app.nemo` and `nemo.toml` are not HCL. The bridge has a file of its own, as `bridge.hcl`."
        " docs/nemo.md shows one.",
    ),
    Code.TOO_LARGE: Explanation(
        "There is more than the bridge reads",
        "All files together have at most 100,000 names, values and signs, and blocks and values are at most 48 deep."
        " Generated lists belong into a file of `static`, not into the configuration.",
    ),
    Code.NOT_LOADED: Explanation(
        "The configuration could not be read to its end",
        "Reading took too long, for example because a file is on a network that does not answer; or the bridge has a"
        " bug. The log has more about a bug. Please report it.",
    ),
    Code.SYNTAX: Explanation(
        "This is not HCL",
        'A file consists of keys with values, `key = value`, and of blocks, `name { … }` or `name "label" { … }`. A'
        " text stands in double quotes. A value may use the operators `== != < > <= >= && || ! + - * / %`,"
        " `condition ? value : other`, and functions: `size(x)`.",
        _route("where       = event.payload.total >> 100"),
        _route("where       = event.payload.total > 100"),
    ),
    Code.UNCLOSED_BLOCK: Explanation(
        "A block or bracket is not closed",
        "Each `{`, `[` and `(` has its counterpart. Where they do not balance, the indentation tells which one is"
        " meant: the place that is shown is the one that was opened and not closed.",
        'bridge {\n  name = "till"\n\nlog {\n  level = "info"\n}\n',
        'bridge {\n  name = "till"\n}\n\nlog {\n  level = "info"\n}\n',
    ),
    Code.UNCLOSED_STRING: Explanation(
        "A string, comment or here-document has no end",
        "A string ends with a quote on the same line, and `${` in it with `}`. A comment that begins with `/*` ends"
        " with `*/`, and a text that begins with `<<EOT` ends with a line that is just `EOT`.",
        'log {\n  level = "info\n}\n',
        'log {\n  level = "info"\n}\n',
    ),
    Code.SURPLUS_SIGN: Explanation(
        "A closing bracket closes nothing",
        "There are more closing brackets than opening ones. The indentation tells which one is too many.",
        'log {\n  level = "info"\n}\n}\n',
        'log {\n  level = "info"\n}\n',
    ),
    Code.ONE_ATTRIBUTE_A_LINE: Explanation(
        "Keys of a block are separated by a comma or semicolon",
        "In a block each key has a line of its own. Commas separate the items of a list, `[1, 2]`, and may separate"
        " the keys of a map, `{ a = 1, b = 2 }`.",
        'log { level = "info", format = "json" }\n',
        'log {\n  level  = "info"\n  format = "json"\n}\n',
    ),
    Code.NOT_SUPPORTED: Explanation(
        "The bridge does not support this part of HCL",
        "`for` expressions, splats (`.*`, `[*]`), template directives (`%{ if … }`) and `...` are not supported. Most"
        " conditions can be written with `condition ? value : other` and with functions.",
        _route('params      = "%{ if event.payload.vip }fast%{ endif }"'),
        _route('params      = [event.payload.vip ? "fast" : ""]'),
    ),
    Code.INVALID_LITERAL: Explanation(
        "A number or an escape cannot be used",
        'A whole number has at most 64 bits. In a string there are the escapes `\\n`, `\\r`, `\\t`, `\\"`, `\\\\`,'
        " `\\uXXXX` and `\\UXXXXXXXX`.",
        'bridge {\n  name = "till\\q"\n}\n',
        'bridge {\n  name = "till"\n}\n',
    ),
    Code.NOT_PORTABLE: Explanation(
        "The bridge reads it, but HCL's grammar does not allow it",
        "Other programs that read HCL, such as editors and formatters, refuse it. Each key and each block has a line of"
        " its own; only a block with one key, or none, may be on one line: `tls { verify = false }`. The `{` of a block"
        " stands on the line of its name. A value goes on in the next line only inside of brackets, and a string not at"
        " all. It is a warning, so that a file that works goes on working.",
        'log { level = "info" format = "json" }\n',
        'log {\n  level  = "info"\n  format = "json"\n}\n',
    ),
    Code.UNKNOWN_BLOCK: Explanation(
        "A block's name is nearly one of the bridge's",
        "Blocks that the bridge does not know belong to the application, and are left alone. But this name is so near"
        " to one of the bridge's that it is probably a slip.",
        'integratoin "till" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n',
        'integration "till" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n',
    ),
    Code.UNKNOWN_KEY: Explanation(
        "The block has no such key",
        "`nemo-bridge adapters` lists the keys of each kind of integration, and schemas/configuration.schema.json all"
        " others.",
        'log {\n  levle = "info"\n}\n',
        'log {\n  level = "info"\n}\n',
    ),
    Code.MISPLACED_KEY: Explanation(
        "A key stands in the wrong block",
        "The bridge knows such a key, but in another block, which the message names.",
        _shop('url = "http://localhost:8080/rpc"', rest='  timeout = "5s"\n'),
        _shop('url = "http://localhost:8080/rpc"', rest='  resilience {\n    timeout = "5s"\n  }\n'),
    ),
    Code.GIVEN_TWICE: Explanation(
        "A key, a block or a label is given twice",
        "Only one of them could count. This goes for all files of a configuration together.",
        'log {\n  level = "info"\n  level = "debug"\n}\n',
        'log {\n  level = "debug"\n}\n',
    ),
    Code.MISSING_KEY: Explanation(
        "A key or a block is missing",
        "The block cannot be used without it.",
        'route "orders" {\n  on          = ["order.*"]\n  integration = "shop"\n  operation   = "request"\n}\n',
        _route(),
    ),
    Code.INVALID_LABEL: Explanation(
        "A label is missing, too much, or cannot be used",
        '`integration`, `route`, `subscription`, `fabric` and `variable` have one label, as in `route "orders"`; '
        "`bridge`, `log` and `bus` have none. A label has letters, digits, `_` and `-`, because it is a part of event"
        " types.",
        'log "mine" {\n  level = "info"\n}\n',
        'log {\n  level = "info"\n}\n',
    ),
    Code.BLOCK_OR_KEY: Explanation(
        "A block is written as a key",
        "A block has no `=` before its brace.",
        'log = {\n  level = "info"\n}\n',
        'log {\n  level = "info"\n}\n',
    ),
    Code.CONFLICTING_KEYS: Explanation(
        "Keys do not go together",
        "One key has no meaning beside the other, or they contradict each other.",
        _route('topic       = "orders"'),
        _route(),
    ),
    Code.REMOVED_KEY: Explanation(
        "There is no such key any more",
        "An earlier version had it. The message says what has taken its place.",
        _route("own         = true"),
        _route(),
    ),
    Code.NO_EFFECT: Explanation(
        "A key has no effect here",
        "It is allowed, but nothing comes of it for this kind of integration.",
        _metrics("prefetch    = 10"),
        _metrics(),
    ),
    Code.WRONG_TYPE: Explanation(
        "A value has the wrong type",
        "A text stands in quotes, numbers and `true` and `false` do not. A list stands in `[ ]`.",
        _shop('address = "localhost"', 'port    = "web"'),
        _shop('address = "localhost"', "port    = 8080"),
    ),
    Code.INVALID_VALUE: Explanation(
        "A value is not one of those that are allowed",
        'Durations are `"250ms"`, `"30s"`, `"2m"`, `"1h"`; a number alone is seconds. Sizes are `"64KiB"`, `"1MiB"`.'
        ' Rates are `"100/s"`.',
        'bridge {\n  heartbeat = "5 x"\n}\n',
        'bridge {\n  heartbeat = "5s"\n}\n',
    ),
    Code.UNUSABLE_FILE: Explanation(
        "A file that the configuration names cannot be used",
        "There is no such file or directory, the bridge may not read it, or it does not hold what it should. A path"
        " that does not begin with `/` or `~` starts at the directory of the file that names it.",
        _shop('url = "https://shop.example/rpc"', rest='  tls {\n    ca = "there-is-no-such.pem"\n  }\n'),
        _shop('url = "https://shop.example/rpc"'),
    ),
    Code.INVALID_SETTINGS: Explanation(
        "Settings do not fit together",
        "Each of them is right, but the adapter cannot work with all of them at once.",
        _events("clean_start = true", 'client_id   = "till"') + _metrics('ack         = "consumer"'),
        _events("clean_start = false", 'client_id   = "till"') + _metrics('ack         = "consumer"'),
    ),
    Code.INVALID_ADDRESS: Explanation(
        "An address cannot be used",
        "It is no URL or host that this protocol can reach, or nothing can listen there. `nemo-bridge adapters` lists"
        " the schemes of each protocol.",
        _shop('url = "http://localhost:8080/rpc"', rest='  tls {\n    server_name = "shop"\n  }\n'),
        _shop('url = "http://localhost:8080/rpc"'),
    ),
    Code.UNSAFE: Explanation(
        "Something is not safe",
        "Credentials travel unencrypted, or nobody checks whom the bridge talks to. It is allowed, because in a closed"
        " network it may be meant.",
        _shop('url = "https://shop.example/rpc"', rest="  tls {\n    verify = false\n  }\n"),
        _shop('url = "https://shop.example/rpc"'),
    ),
    Code.UNKNOWN_NAME: Explanation(
        "A name is not known here",
        "There are `env.NAME` and `var.name` everywhere, `event.…` in routes, and `message.…` in subscriptions. A text"
        " stands in quotes.",
        "log {\n  level = info\n}\n",
        'log {\n  level = "info"\n}\n',
    ),
    Code.UNSET_ENVIRONMENT: Explanation(
        "An environment variable is not set",
        "`env.NAME` needs it where the bridge is started. A `variable` block can give a default.",
        "bridge {\n  name = env.NAME_OF_THE_TILL\n}\n",
        'variable "name" {\n  env     = "NAME_OF_THE_TILL"\n  default = "till"\n}\n\nbridge {\n  name = var.name\n}\n',
    ),
    Code.UNKNOWN_VARIABLE: Explanation(
        "There is no such variable",
        "A `variable` block declares `var.name`. `--var` gives a value to one that is declared: `--var name=value`.",
        "bridge {\n  name = var.name\n}\n",
        'variable "name" {\n  default = "till"\n}\n\nbridge {\n  name = var.name\n}\n',
    ),
    Code.NO_VALUE: Explanation(
        "A variable has no value",
        "Give it a `default`, name an environment variable with `env`, or start the bridge with `--var name=value`.",
        'variable "name" {\n}\n',
        'variable "name" {\n  default = "till"\n}\n',
    ),
    Code.UNKNOWN_FUNCTION: Explanation(
        "There is no such function",
        "README lists all functions. `size` gives the length of a text, a list or a map.",
        _route("where       = lenght(event.payload.items) > 0"),
        _route("where       = size(event.payload.items) > 0"),
    ),
    Code.WRONG_ARGUMENTS: Explanation(
        "A function gets the wrong arguments",
        "Their number or kind does not fit.",
        _route("where       = size(event.payload.items, 1) > 0"),
        _route("where       = size(event.payload.items) > 0"),
    ),
    Code.INVALID_EXPRESSION: Explanation(
        "An expression can never have a value",
        "What it combines does not go together, for example a text and a number with `+`.",
        'bridge {\n  name = "till" + 1\n}\n',
        'bridge {\n  name = "till${1}"\n}\n',
    ),
    Code.NO_CONDITION: Explanation(
        "A condition is neither true nor false",
        "`where` needs an expression that is true or false, such as a comparison.",
        _route("where       = event.payload.total + 1"),
        _route("where       = event.payload.total > 1"),
    ),
    Code.CIRCULAR_VARIABLES: Explanation(
        "Variables need each other",
        "None of them can be computed first. Give one of them a value that uses no other.",
        'variable "a" {\n  default = var.b\n}\nvariable "b" {\n  default = var.a\n}\n',
        'variable "a" {\n  default = var.b\n}\nvariable "b" {\n  default = 1\n}\n',
    ),
    Code.WRONG_OPERAND: Explanation(
        "An operator gets what it cannot use",
        "`&&`, `||`, `!` and the condition before `?` need something that is true or false; arithmetic needs numbers. A"
        ' text and a value are put together in a string: `"order ${event.payload.id}"`.',
        _route("where       = event.payload.total > 1 && event.type"),
        _route('where       = event.payload.total > 1 && event.type == "order.created"'),
    ),
    Code.UNKNOWN_INTEGRATION: Explanation(
        "There is no such integration",
        "A route or subscription names the label of an `integration` block.",
        _route().replace('"shop"', '"shopp"'),
        _route(),
    ),
    Code.UNKNOWN_TYPE: Explanation(
        "There is no such type",
        "`nemo-bridge adapters` lists the types of integrations, with the kinds of `auth` that each can use.",
        'integration "till" {\n  type = "tmier"\n}\n',
        'integration "till" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n',
    ),
    Code.UNSUPPORTED_BY_PROTOCOL: Explanation(
        "The protocol cannot do this",
        "Not every protocol has every operation, kind of `auth` or setting. `nemo-bridge adapters` lists them.",
        'route "orders" {\n  on          = ["order.*"]\n  integration = "shop"\n  operation   = "publish"\n'
        '  topic       = "orders"\n  message     = event.payload\n}\n',
        'route "orders" {\n  on          = ["order.*"]\n  integration = "events"\n  operation   = "publish"\n'
        '  topic       = "orders"\n  message     = event.payload\n}\n',
    ),
    Code.INVALID_PATTERN: Explanation(
        "This is no pattern of event types",
        "Event types are words with dots between them: `order.created`. In a pattern `*` stands for one word, and `**`"
        " for any number of them.",
        _route().replace("order.*", "order..created"),
        _route().replace("order.*", "order.created"),
    ),
    Code.INVALID_NAME: Explanation(
        "The protocol does not accept this topic, method, queue or group",
        "Each protocol has its own rules for names and patterns; they are those of its own documentation.",
        'subscription "metrics" {\n  integration = "events"\n  topic       = "metrics/#/cpu"\n}\n',
        'subscription "metrics" {\n  integration = "events"\n  topic       = "metrics/+/cpu"\n}\n',
    ),
    Code.ENDLESS_LOOP: Explanation(
        "A route sets itself off without end",
        "What it emits, or what comes back of what it sends, sets it off again, for each event. Use another event"
        " type, or another topic.",
        _route('emit        = "order.done"'),
        _route('emit        = "done.order"'),
    ),
    Code.POSSIBLE_LOOP: Explanation(
        "A route may set itself off",
        "It depends on the events. Make sure that it ends, for example with `where`.",
        _route('emit        = "order.${event.payload.next}"'),
        _route('emit        = "done.${event.payload.next}"'),
    ),
    Code.NEVER_SET_OFF: Explanation(
        "Nothing sets off a route",
        "The bridge never emits an event that this pattern matches. It is a warning, because another bridge on the"
        " same bus may.",
        _route().replace("order.*", "health.shopp"),
        _route().replace("order.*", "health.shop"),
    ),
    Code.DIFFERENT_SETTINGS: Explanation(
        "Two subscriptions to the same source differ",
        "They get the same messages, so these are acknowledged and limited in one way only. Give both the same"
        " settings; only `emit` may differ.",
        _subscription("a", 0) + _subscription("b", 1),
        _subscription("a", 1) + _subscription("b", 1),
    ),
    Code.UNKNOWN_SUBSCRIPTION: Explanation(
        "There is no such subscription",
        "A `step` of a test that brings a message names the label of a `subscription` block.",
        'test "metrics" {\n  step {\n    message = "metrics"\n    topic   = "metrics/cpu"\n    payload = 1\n  }\n'
        '  expect {\n    event = "message.events"\n  }\n}\n',
        'subscription "metrics" {\n  integration = "events"\n  topic       = "metrics/#"\n}\n\n'
        'test "metrics" {\n  step {\n    message = "metrics"\n    topic   = "metrics/cpu"\n    payload = 1\n  }\n'
        '  expect {\n    event = "message.events"\n  }\n}\n',
    ),
    Code.ALWAYS_THE_SAME: Explanation(
        "A comparison always has the same result",
        'Values of different kinds are never equal: the number 7 is not the text `"7"`.',
        _route('where       = event.id == "7"'),
        _route("where       = event.id == 7"),
    ),
    Code.REPEATED_MESSAGES: Explanation(
        "A message is put on the bus more than once",
        "Several subscriptions get the same messages and emit the same event type, so whoever listens gets each of them"
        " more than once.",
        _metrics('emit        = "data.metrics"') + _metrics('emit        = "data.metrics"', name="again"),
        _metrics('emit        = "data.metrics"') + _metrics('emit        = "data.other"', name="again"),
    ),
    Code.FOREIGN_WILDCARD: Explanation(
        "A wildcard of another protocol",
        "To this protocol, the sign is an ordinary character. Each protocol has a pattern language of its own: MQTT has"
        " `+` and `#`, NATS `*` and `>`, Redis `*` and `?`.",
        _metrics(topic="metrics/*"),
        _metrics(topic="metrics/+"),
    ),
    Code.UNKNOWN_FABRIC: Explanation(
        "There is no fabric of this name",
        "`singleton` of a subscription names the `fabric` block whose nodes agree on the one that emits.",
        _FABRIC + _ticks("plants"),
        _FABRIC + _ticks("plant"),
    ),
    Code.NEVER_SHARED: Explanation(
        "A pattern matches only events that stay on their bus",
        "Commands, answers and what a bridge reports of itself (`integration`, `bridge`, `response`, `health`,"
        " `resilience`, `receipt`), and the event that stops a bridge, never go to the other bridges of a fabric. What"
        " these are told of each other is `health.node.<node>`. To act on a failure elsewhere, let a route there emit"
        " an event of your own, and export that.",
        _FABRIC.replace("order.**", "resilience.**"),
        _FABRIC,
    ),
    Code.NOT_CONNECTED: Explanation(
        "An endpoint cannot be reached",
        "`nemo-bridge check --connect` has tried it, and the message says how it failed. The configuration is right.",
    ),
}
