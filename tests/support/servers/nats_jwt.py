"""An operator, an account and a user as `nsc` would make them, by hand: JWTs signed with Ed25519 (NATS ADR-14)."""

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import nkeys

_PREFIXES = {
    "operator": nkeys.PREFIX_BYTE_OPERATOR,
    "account": nkeys.PREFIX_BYTE_ACCOUNT,
    "user": nkeys.PREFIX_BYTE_USER,
}


@dataclass
class Key:
    """A fresh key pair of one kind."""

    kind: str
    seed: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Make it."""
        self.seed = nkeys.encode_seed(os.urandom(32), _PREFIXES[self.kind]).decode()

    @property
    def public(self) -> str:
        return nkeys.from_seed(bytearray(self.seed.encode())).public_key.decode()

    def sign(self, data: bytes) -> bytes:
        return nkeys.from_seed(bytearray(self.seed.encode())).sign(data)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(subject: Key, issuer: Key, claims: dict[str, Any], *, expires: int | None = None) -> str:
    """A JWT in which the issuer vouches for the subject."""
    body: dict[str, Any] = {"iat": int(time.time()), "iss": issuer.public, "name": subject.kind, "sub": subject.public}
    if expires is not None:
        body["exp"] = expires
    body["nats"] = {**claims, "type": subject.kind, "version": 2}
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    head = _encoded(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    signed = f"{head}.{_encoded(json.dumps(body).encode())}"
    return f"{signed}.{_encoded(issuer.sign(signed.encode()))}"


_UNLIMITED = dict.fromkeys(("subs", "data", "payload"), -1)
_STORAGE = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
_ACCOUNT = {**_UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}


class Operator:
    """One operator with an account for users and a system account; `settings` is a server's configuration."""

    def __init__(self) -> None:
        """Make all keys."""
        self._operator, self._account, self._system = Key("operator"), Key("account"), Key("account")

    @property
    def settings(self) -> str:
        """Operator mode, with the accounts in memory."""
        account = jwt(self._account, self._operator, {"limits": {**_ACCOUNT, **_STORAGE}})
        system = jwt(self._system, self._operator, {"limits": _ACCOUNT})
        return (
            f"operator: {jwt(self._operator, self._operator, {})}\n"
            f"system_account: {self._system.public}\n"
            "resolver: MEMORY\n"
            f"resolver_preload: {{ {self._account.public}: {account}, {self._system.public}: {system} }}\n"
        )

    def credentials(self, *, expires: int | None = None) -> str:
        """A user's credentials file, as `nsc generate creds` writes it."""
        user = Key("user")
        token = jwt(user, self._account, {"pub": {}, "sub": {}, **_UNLIMITED}, expires=expires)
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"*** keep it secret ***\n\n-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
