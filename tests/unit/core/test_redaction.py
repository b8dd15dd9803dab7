"""Show that secrets are found in every form, and that nothing else is changed."""

import base64
import json
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from bridge.core.errors import RejectedError
from bridge.core.redaction import Redactor

SECRET = "pa/ss+Wörd&1=x y"


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        SECRET.upper(),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps({"a": [SECRET]}, ensure_ascii=False),
        f"?key={SECRET}&other=1",
    ],
)
def test_each_form(written):
    """A secret is masked as it is, in other letter case, quoted for a URL, in JSON, and within other text."""
    said = Redactor([SECRET]).text(f"before {written} after")
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert "***" in said
    assert "rd&1" not in said.lower()
    assert "rd%261" not in said.lower()


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "nemo"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_wherever_it_begins(user, encode):
    """Encoded in base64 after any number of other bytes, as in basic auth, its middle is masked."""
    said = Redactor([SECRET]).text(f"Basic {encode(f'{user}:{SECRET}'.encode()).decode()}!")
    assert "***" in said
    assert len(said) < len("Basic !") + 18


@pytest.mark.parametrize("length", range(6, len(SECRET)))
def test_the_beginning_of_one_at_the_end(length):
    """A message that was cut in the middle of a secret does not show its beginning."""
    assert Redactor([SECRET]).text(f"you said {SECRET[:length]}") == "you said ***"


def test_an_error():
    """Message, code and data are masked at any depth, in texts, keys and bytes; kind and the rest stay."""
    error = RejectedError(f"no: {SECRET}", code=SECRET, data={SECRET: [1, SECRET.encode(), {"a": (SECRET, None)}]})
    Redactor([SECRET]).error(error)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(error.to_wire())) == {
        "kind": "rejected", "message": "no: ***", "retryable": False, "code": "***",
        "data": {"***": [1, b"***", {"a": ["***", None]}]},
    }  # fmt: skip
    assert str(error) == "no: ***"


def test_what_is_no_secret_stays():
    """Short words are not masked; without secrets nothing changes; secrets can be added later."""
    redactor = Redactor(["abc"])
    assert redactor.text("abc, and the alphabet") == "abc, and the alphabet"
    redactor.learn(["alphabet"])
    assert redactor.text("abc, and the Alphabet") == "abc, and the ***"
    assert redactor.value(7) == 7
