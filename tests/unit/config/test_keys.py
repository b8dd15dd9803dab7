"""Show that a key in the wrong block is told where it belongs, and that a misspelt block is not taken for another's."""

import pytest

from bridge.config.keys import block_meant, misplaced_block

OURS = frozenset({"bridge", "log", "bus", "variable", "integration", "route", "subscription", "fabric", "test"})


def integration(inner: str = "", endpoint: str = 'url = "mqtt://h"', kind: str = "mqtt") -> str:
    """Write an integration; `inner` is its sixth line, `endpoint` its fourth."""
    return f'integration "shop" {{\n  type = "{kind}"\n  endpoint {{\n    {endpoint}\n  }}\n  {inner}\n}}\n'


ROUTE = """route "orders" {
  on          = "order.created"
  integration = "shop"
  operation   = "publish"
  topic       = "orders"
  message     = 1
}
"""


@pytest.mark.parametrize(
    ("inner", "where"),
    [
        ("timeout = 5", "timeout: unknown key; `timeout` belongs in `resilience` or `health`"),
        ('client_id = "a"', "client_id: unknown key; `client_id` belongs in `config`"),
        ("max_attempts = 3", "max_attempts: unknown key; `max_attempts` belongs in `resilience > retry`"),
        ('url = "mqtt://h"', "url: unknown key; `url` belongs in `endpoint`"),
        ("port = 1883", "port: unknown key; `port` belongs in `endpoint`"),
        ('token = "hidden"', 'token: unknown key; `token` belongs in `auth` with `type = "bearer"`'),
        ("retry {}", "retry: unknown key; `retry` belongs in `resilience`"),
        ("verify = false", "verify: unknown key; `verify` belongs in `tls`"),
        ("method = 1", "method: unknown key; `method` belongs in `route`"),
        ("queue = 5", "queue: unknown key; `queue` belongs in `resilience > limit`, `route` or `subscription`"),
        ('name = "shop"', 'name: unknown key; the label is the name: `integration "…" {`'),
        (
            "description = 1",
            "description: unknown key; there are `auth`, `config`, `endpoint`, `health`, `resilience`,",
        ),
        ("resilience {\n client_id = 1\n}", "resilience > client_id: unknown key; `client_id` belongs in `config`"),
        ("resilience {\n type = 1\n}", "resilience > type: unknown key; `type` belongs in `integration`"),
        ("resilience {\n retyr {}\n}", "resilience > retyr: unknown key (did you mean `retry`?)"),
        (
            "resilience {\n retry {\n queue = 1\n}\n}",
            "retry > queue: unknown key; `queue` belongs in `resilience > lim",
        ),
        ("resilience {\n interval = 5\n}", "resilience > interval: unknown key; `interval` belongs in `health`"),
        (
            'auth {\n type = "basic"\n password = "x"\n token = "y"\n}',
            'token: unknown key; `token` belongs in `auth` with `type = "bearer"`',
        ),
        ('tls = "no"', "tls: is a block; write `tls { … }`, or `tls = …` in `endpoint`"),
        ("retries = 3", "retries: unknown key; there are `auth`,"),
    ],
)
def test_a_key_in_the_wrong_block(diagnostics, inner, where):
    """It is one diagnostic at its own line, with the nearest block that has the key."""
    (found,) = diagnostics(integration(inner))
    assert where in found
    line = 6 + inner[: inner.rindex(where.partition(":")[0].rpartition(" > ")[2])].count("\n")
    assert found.startswith(f'bridge.hcl:{line}: integration "shop" > ')


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("timeout = 5", "timeout: unknown key; `timeout` belongs in `integration > resilience` or `integration > heal"),
        ('group = "g"', "group: unknown key; `group` belongs in `subscription`"),
        ('singleton = "plant"', "singleton: unknown key; `singleton` belongs in `subscription`"),
        ('export = "a"', "export: unknown key; `export` belongs in `fabric`"),
        ('url = "x"', "url: unknown key; `url` belongs in `integration > endpoint`"),
        ('type = "mqtt"', "type: unknown key; `type` belongs in `integration`"),
        ("level = 1", "level: unknown key; there are `delivery`,"),
        ("log {}", "log: unknown key; `log` stands outside of all other blocks; a `}` may be missing before it"),
        ("emit {}", "emit: is no block; write `emit = …`"),
        ("receipts {}", "receipts: is no block; write `receipts = …`"),
    ],
)
def test_a_key_of_an_integration_in_a_route(diagnostics, line, where):
    """A route is told in which part of an integration its key belongs; the settings of the bridge are not searched."""
    (found,) = diagnostics(integration() + ROUTE.replace("}", f"  {line}\n}}"))
    assert found.startswith(f'bridge.hcl:14: route "orders" > {where}')


def test_a_key_of_another_setting_of_the_bridge(diagnostics):
    """Between `bridge`, `bus` and `log` keys are told their place, too."""
    assert diagnostics('bridge {\n  level = "debug"\n  max_bytes = 1\n}\n') == [
        "bridge.hcl:2: bridge > level: unknown key; `level` belongs in `log`",
        "bridge.hcl:3: bridge > max_bytes: unknown key; `max_bytes` belongs in `outbox`",
    ]


@pytest.mark.parametrize(
    ("word", "value"),
    [("no", "false"), ("Off", "false"), ("false", "false"), ("yes", "true"), ("TRUE", "true"), ("1", "true")],
)
def test_true_and_false_in_quotes(diagnostics, word, value):
    """A string where true or false belongs is a diagnostic that says what to write; pydantic would take it."""
    (found,) = diagnostics(integration(endpoint=f'address = "h"\n    tls = "{word}"'))
    where = 'bridge.hcl:5: integration "shop" > endpoint > tls'
    assert found == f"{where}: must be true or false, not a string; write `{value}`, without quotes"
    (found,) = diagnostics(integration(endpoint='address = "h"\n    tls = "perhaps"'))
    assert found.endswith("not a string; write `true` or `false`, without quotes")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            integration().replace("endpoint {", "enpoint {"),
            ['3: integration "shop" > enpoint: unknown key (did you mean `endpoint`?)'],
        ),
        (
            'integration "shop" {\n  type = "mqtt"\n  url = "mqtt://h"\n}\n',
            ['3: integration "shop" > url: unknown key; `url` belongs in `endpoint`'],
        ),
        (
            'integration "shop" {\n  type = "timer"\n  every = "1s"\n}\n',
            ['3: integration "shop" > every: unknown key; `every` belongs in `config`'],
        ),
        (
            integration() + ROUTE.replace("topic ", "tpoic "),
            ['12: route "orders" > tpoic: unknown key (did you mean `topic`?)'],
        ),
        (
            integration() + 'subscription "s" {\n  integration = "shop"\n  topics = "a"\n}\n',
            ['10: subscription "s" > topics: unknown key (did you mean `topic`?)'],
        ),
        (
            integration("resilience {\n    retries = 3\n    retry {}\n  }"),
            ['7: integration "shop" > resilience > retries: unknown key (did you mean `retry`?)'],
        ),
    ],
)
def test_a_key_is_not_missing_where_another_one_means_it(diagnostics, text, faults):
    """A misspelt or misplaced key is one diagnostic, without another that the right one is missing."""
    assert diagnostics(text) == [f"bridge.hcl:{fault}" for fault in faults]


def test_true_and_false_from_outside(load_text):
    """The environment has strings only, so there `false` and `no` are taken."""
    text = integration(endpoint='address = "h"\n    tls = env.TLS')
    for word in ("false", "no"):
        assert load_text(text, {"TLS": word}).integrations["shop"].endpoint.tls is False


def test_a_misspelt_block_is_one_error(diagnostics):
    """`intergration "shop"` beside a route to `shop` is one diagnostic about the block, without its consequences."""
    assert diagnostics(integration().replace("integration", "intergration") + ROUTE) == [
        'bridge.hcl:1: intergration "shop": there is no such block (did you mean `integration`?)'
    ]
    assert diagnostics(integration() + ROUTE.replace("route", "routes")) == [
        'bridge.hcl:8: routes "orders": there is no such block (did you mean `route`?)'
    ]


def test_the_content_of_a_misspelt_block_is_checked(diagnostics):
    """Its faults are found as if its name were right."""
    assert diagnostics(integration('client_id = "x"').replace("integration", "Integration")) == [
        'bridge.hcl:1: Integration "shop": there is no such block (did you mean `integration`?)',
        'bridge.hcl:6: integration "shop" > client_id: unknown key; `client_id` belongs in `config`',
    ]


def test_a_misspelt_block_as_an_attribute(diagnostics, load_text):
    """A map or list under a name that is nearly one of our blocks is a diagnostic; a text under it is another's."""
    assert diagnostics('brigde = {\n  name = "x"\n}\n') == [
        "bridge.hcl:1: brigde: there is no such block; write `bridge { … }`"
    ]
    assert load_text('logs = "/var/log"\n').ignored == {"logs": 1}


@pytest.mark.parametrize(
    ("name", "keys", "meant"),
    [
        ("intergration", (), "integration"),
        ("integratoin", (), "integration"),
        ("integrations", (), "integration"),
        ("routes", (), "route"),
        ("rotue", (), "route"),
        ("Route", (), "route"),
        ("LOG", (), "log"),
        ("subsciption", (), "subscription"),
        ("subscriptoins", (), "subscription"),
        ("variabel", (), "variable"),
        ("bridges", (), "bridge"),
        ("buss", (), "bus"),
        ("tset", (), "test"),
        ("lg", (), None),
        ("lg", ("level",), "log"),
        ("lg", ("name",), None),
        ("subscribe", (), None),
        ("ruote_x", (), None),
        ("text", ("size",), None),
        ("on", ("integration",), None),
        ("data", (), None),
        ("action", (), None),
        ("router", ("on",), None),
        ("logo", (), None),
        ("application", (), None),
        ("terraform", (), None),
        ("resource", (), None),
        ("locals", (), None),
    ],
)
def test_what_a_block_means(name, keys, meant):
    """Two edits, and a third of its letters, are a misspelling; Nemo's own blocks and all others are left alone."""
    assert block_meant(name, keys, OURS) == meant


def test_a_block_that_is_further_away_is_a_warning(load_text):
    """A name that is less near is left alone, and told."""
    (warning,) = load_text("log {}\nsubscribe {}\n").warnings
    assert str(warning).endswith(
        "bridge.hcl:2: subscribe: is ignored, because the bridge has no such block (did you mean `subscription`?)"
    )


def test_a_part_of_an_integration_outside_of_it(load_text):
    """A block whose keys are all of ours is told where it belongs; one with other keys is another program's."""
    text = 'resilience {\n  timeout = "5s"\n}\nhealth {\n  color = "red"\n}\ntls {\n}\n'
    found = load_text(text)
    assert found.ignored == {"health": 1, "resilience": 1, "tls": 1}
    (warning,) = found.warnings
    assert str(warning).endswith(
        "bridge.hcl:1: resilience: is ignored, because the bridge has no such block"
        "; `resilience` belongs in `integration`"
    )
    assert misplaced_block("auth", {"type", "token"}) == "`auth` belongs in `integration`"
    assert misplaced_block("retry", {"max_attempts"}) == "`retry` belongs in `integration > resilience`"
    assert misplaced_block("auth", {"users"}) == ""
