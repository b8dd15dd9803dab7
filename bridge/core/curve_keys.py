"""Read and write CURVE keys as files, and the rights of each key.

The files are pyzmq's certificates (ZPL): a public key in `NAME.key`, both halves in `NAME.key_secret`. A folder of
public keys is the access list of a bus; the metadata of each key lists the event types that its holder may publish and
subscribe to.
"""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge.core.errors import KeyFileError
from bridge.core.event_type import BRIDGE_ONLY
from bridge.core.files import read_regular
from bridge.core.filters import Glob, check_pattern
from bridge.core.printable import printable

#: First segment of the event types that only one key's holder may publish: see `own_type_prefix`.
_CLIENT: Final = "client"

_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGITS: Final = {letter: number for number, letter in enumerate(_Z85)}
_LETTERS: Final = 40
_LARGEST: Final = 65_536


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves of a key, as Z85 text; the secret one is never shown.

    Attributes:
        name: The file's name without its ending.
        public: 40 letters.
        secret: 40 letters.
    """

    name: str
    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """One listed key and its rights. What begins with its `own_type_prefix` it may always publish and subscribe to.

    Attributes:
        name: The file's name without its ending.
        public: The key, as Z85 text.
        publish: Patterns of the event types that it may publish.
        subscribe: Patterns of the event types that it may subscribe to.
        bridge: Whether a bridge holds it, which may publish types that are reserved for bridges.
    """

    name: str
    public: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    bridge: bool = False
    _may: tuple[Glob, ...] = field(init=False, repr=False, compare=False, default=())
    _own: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "_may", tuple(Glob(pattern) for pattern in self.publish))
        object.__setattr__(self, "_own", f"{own_type_prefix(self.public)}.")
        for pattern in self.subscribe:
            check_subscribe_right(pattern)

    def may_publish(self, event_type: str) -> bool:
        """Return whether its holder may publish this event type."""
        if event_type.startswith(self._own):
            return True
        first = event_type.partition(".")[0]
        if not self.bridge and (first in BRIDGE_ONLY or first == _CLIENT):
            return False
        return any(one.matches(event_type) for one in self._may)

    def may_subscribe(self, prefix: str) -> bool:
        """Return whether its holder may subscribe to event types that begin with this prefix.

        ZeroMQ subscribes by prefix. The right to `order.**` covers the type `order` and every prefix that begins with
        `order.`; the right to `order.created` covers only that. Who subscribes to a whole type also receives longer
        types that begin with the same letters, because ZeroMQ compares prefixes only.
        """
        return prefix.startswith(self._own) or any(_covers(pattern, prefix) for pattern in self.subscribe)

    def readable(self, start: bytes) -> tuple[bytes, ...]:
        """Return the longer prefixes that begin with `start` and to which its holder may subscribe.

        With the right to `order.**`, these are `order` where `start` is `o`, and none where it is `p`.
        """
        stems = (self._own, *(pattern.removesuffix(".**") for pattern in self.subscribe))
        return tuple(stem for stem in map(str.encode, stems) if stem.startswith(start))


AccessList = Mapping[str, Grant]
"""The grants of a closed bus, by public key."""


def _covers(pattern: str, prefix: str) -> bool:
    if pattern == "**":
        return True
    stem = pattern.removesuffix(".**")
    return prefix == stem or (stem != pattern and prefix.startswith(f"{stem}."))


def check_subscribe_right(pattern: str) -> None:
    """Raise ValueError, with the reason, unless ZeroMQ can enforce this right: it subscribes by prefix."""
    check_pattern(pattern)
    if "*" in pattern.removesuffix("**").removesuffix("."):
        msg = f"{pattern!r}: ZeroMQ subscribes by prefix; write `**`, `order.**` or a whole type"
        raise ValueError(msg)


def check_name(name: str) -> str:
    """Return the name, if it is valid for a key file.

    Raises:
        KeyFileError: It is not valid.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise KeyFileError(f"{name!r}: a key's name has letters, digits, `_` and `-` only")
    return name


def fingerprint(public: str) -> str:
    """Return a short name of a key, for people and events: the first 16 digits of its SHA-256."""
    return hashlib.sha256(public.encode()).hexdigest()[:16]


def own_type_prefix(public: str) -> str:
    """Return the prefix of the event types that only this key's holder may publish.

    A client tests with them whether the bus forwards its events, and receives messages for itself alone.
    """
    return f"{_CLIENT}.{fingerprint(public)}"


def is_key(text: str) -> bool:
    """Return whether a text is 32 bytes in Z85 (ZeroMQ RFC 32)."""
    if len(text) != _LETTERS or not all(letter in _DIGITS for letter in text):
        return False
    for start in range(0, _LETTERS, 5):
        number = 0
        for letter in text[start : start + 5]:
            number = number * 85 + _DIGITS[letter]
        if number >= 1 << 32:
            return False
    return True


def read_pair(path: Path) -> KeyPair:
    """Read a secret key file.

    Raises:
        KeyFileError: There is no such file, others can read it, or it does not hold both halves.
    """
    found, _ = _read(path)
    there = path.stat()
    mode = stat.S_IMODE(there.st_mode)
    # A file of another owner may be readable by its group: systemd passes credentials like that (mode 0440).
    if mode & (0o077 if there.st_uid == os.geteuid() else 0o037):
        raise KeyFileError(f"{path}: others can read this secret key (mode {mode:04o}); chmod 600 {path}")
    if "secret-key" not in found:
        raise KeyFileError(f"{path}: holds no secret key; that is in the file that ends in .key_secret")
    return KeyPair(printable(path.stem), found["public-key"], found["secret-key"])


def read_public(path: Path) -> str:
    """Return the public key in a file, as Z85 text.

    Raises:
        KeyFileError: There is no such file, or no public key in it.
    """
    return _read(path)[0]["public-key"]


def read_grant(path: Path) -> Grant:
    """Read one file of an access list.

    Raises:
        KeyFileError: It holds no public key or a secret one, others may change it, or its rights are not valid.
    """
    found, metadata = _read(path)
    _only_ours(path)
    if "secret-key" in found:
        raise KeyFileError(f"{path}: holds a secret key, which belongs to its owner alone; list the public one")
    role = metadata.get("role", "")
    if role not in ("", "bridge"):
        raise KeyFileError(f"{path}: role {role!r}; there is `bridge`, or none")
    try:
        return Grant(
            printable(path.stem),  # a file's name may be any bytes, and this one is shown and emitted
            found["public-key"],
            publish=_patterns(metadata.get("publish", "")),
            subscribe=_patterns(metadata.get("subscribe", "")),
            bridge=role == "bridge",
        )
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None


def read_access_list(folder: Path) -> dict[str, Grant]:
    """Read all `*.key` files of a folder; return the grants by public key.

    Raises:
        KeyFileError: One of them is at fault, two hold the same key, the folder cannot be read, or others may
            change it.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".key")
    except FileNotFoundError:
        raise KeyFileError(f"{folder}: there is no such folder; `nemo-bridge keys authorize` makes it") from None
    except OSError as error:
        raise KeyFileError(f"{folder}: {error.strerror}") from None
    _only_ours(folder)
    access_list: dict[str, Grant] = {}
    for path in paths:
        grant = read_grant(path)
        other = access_list.setdefault(grant.public, grant)
        if other is not grant:
            raise KeyFileError(f"{path}: the same key as in {other.name}.key")
    return access_list


def write_key_file(
    path: Path, public: str, *, secret: str | None = None, rights: Mapping[str, str] | None = None
) -> None:
    """Write a certificate, mode 0600; make its folder, mode 0700, if there is none.

    Args:
        path: The file.
        public: The public key, as Z85 text.
        secret: The secret key, for a file of both halves.
        rights: The metadata: name and value of each right.

    Raises:
        KeyFileError: There is such a file already, which stays as it is; or it cannot be written, and there is none.
    """
    lines = [f"#   ZeroMQ CURVE {'**secret**' if secret else 'public'} certificate, by nemo-bridge", "", "metadata"]
    lines += [f'    {name} = "{value}"' for name, value in (rights or {}).items()]
    lines += ["curve", f'    public-key = "{public}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret}"')
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path}: is there already, and stays as it is") from None
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        path.unlink()  # half a key would stay as it is, too
        raise KeyFileError(f"{path}: {error.strerror}") from None


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(pattern for part in text.split(",") if (pattern := part.strip()))


def _only_ours(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        raise KeyFileError(f"{path}: others may change it (mode {mode:04o}); chmod go-w {path}")


def _read(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the `curve` and the `metadata` part of a certificate; other lines are ignored."""
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: is no key file") from None
    parts: dict[str, dict[str, str]] = {"curve": {}, "metadata": {}}
    part: dict[str, str] = {}
    for line in text.splitlines():
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        name, equals, value = content.partition("=")
        if not equals:
            part = parts.get(content, {})
        else:
            part[name.strip()] = value.strip().strip("\"'")
    curve = parts["curve"]
    if "public-key" not in curve:
        raise KeyFileError(f"{path}: holds no public key")
    for half in ("public-key", "secret-key"):
        if half in curve and not is_key(curve[half]):
            raise KeyFileError(f"{path}: its {half} is not 40 letters of Z85")
    return curve, parts["metadata"]
