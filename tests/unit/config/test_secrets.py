"""Show which texts of a configuration are secret."""

import pytest

BLOCK = """
variable "url" {{
  env = "URL"
}}
bridge {{
  name = env.NAME
}}
integration "a" {{
  type = "json-rpc"
  endpoint {{
    {endpoint}
  }}
  auth {{
    type  = "bearer"
    token = "in-the-file"
  }}
  config {{
    seed = "a-seed"
  }}
}}
route "r" {{
  on          = ["x"]
  integration = "a"
  operation   = "request"
  method      = "m"
  params = {{
    key = env.KEY
    id  = event.payload.id
  }}
}}
"""
ENVIRON = {"NAME": "left", "KEY": "route-key", "HOST": "api.example.com", "PORT": "8443", "UNUSED": "not-named"}


@pytest.mark.parametrize(
    ("endpoint", "url", "wanted"),
    [
        ("url = var.url", "https://api.example.com/hook/t0ken?key=q1&n=q2", {"/hook/t0ken", "key=q1&n=q2", "q1", "q2"}),
        ("address = env.HOST\n    port = 8443", "https://x", set()),
        ('url = "https://${env.HOST}:${env.PORT}/rpc"', "https://x", set()),
    ],
)
def test_all_but_hosts_and_ports(load_text, endpoint, url, wanted):
    """Credentials and values from the environment are secret; host and port of a remote are not."""
    found = load_text(BLOCK.format(endpoint=endpoint), ENVIRON | {"URL": url})
    assert found.secrets - {""} == {"in-the-file", "a-seed", "route-key"} | wanted


def test_what_came_through_the_defaults_of_variables(load_text):
    """A value from the environment is secret by itself and as a part, also through variables that use each other."""
    text = (
        BLOCK.format(endpoint='url = "http://h"')
        + """
variable "token" { default = env.TOKEN }
variable "header" { default = "Bearer ${upper(var.token)}" }
route "s" {
  on          = ["y"]
  integration = "a"
  operation   = "request"
  method      = "m"
  params      = [var.header]
}
"""
    )
    found = load_text(text, ENVIRON | {"URL": "http://h", "TOKEN": "abc"}).secrets
    assert {"abc", "Bearer ABC"} <= found
