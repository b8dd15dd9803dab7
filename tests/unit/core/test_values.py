"""What a value may hold on its way to a wire."""

import math
import re

import pytest

from bridge.core.errors import InvalidError, RejectedError
from bridge.core.payloads import Failure, Success
from bridge.core.values import BUS, check_value


def test_a_payload_of_the_contract_is_looked_into_where_it_may_hold_anything() -> None:
    """What the types of its other fields allow is carried as it is; the message has the path."""
    error = RejectedError("no", code=7).to_wire()
    check_value({"one": Failure(False, error, 1, 0.0)}, "payload", BUS, 4)
    for result, where in ((math.nan, "payload.result: "), ({"a": [1 << 64]}, "payload.result.a[0]: ")):
        with pytest.raises(InvalidError, match=re.escape(where)):
            check_value(Success(True, result, 1, 0.0), "payload", BUS, 4)
    with pytest.raises(InvalidError, match="nested deeper"):
        check_value(Success(True, [[]], 1, 0.0), "payload", BUS, 2)
