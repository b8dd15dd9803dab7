"""Read `integration "id" { … }` blocks and check them."""

import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from bridge.config.blocks import BlockReader, Data
from bridge.config.diagnostics import did_you_mean, one_of
from bridge.config.expressions import Expression
from bridge.config.models import AUTH_MODELS, MOST_LABEL, NAME_PATTERN, RESERVED, Integration, IntegrationBlock
from bridge.config.syntax import Block
from bridge.core.diagnostic import Code
from bridge.core.endpoint import (
    NO_AUTH,
    AuthCertificate,
    AuthCredentials,
    Endpoint,
    EndpointError,
    Tls,
)
from bridge.core.fabric import USED
from bridge.core.ports import AdapterSpec
from bridge.core.settings import HealthSettings, ResilienceSettings


def is_integration(
    name: str, key: str, data: Data, reader: BlockReader, integrations: Collection[str], *, position: int = 0
) -> bool:
    """Return whether there is an integration of a name, which stands under a key; add a diagnostic where there is none.

    Args:
        name: The name.
        key: The key of the block under which it stands.
        data: The block.
        reader: Takes the diagnostics.
        integrations: The labels of all integrations.
        position: The name's place where the key has a list.
    """
    if name in integrations:
        return True
    if reader.diagnostics.complete:  # else it may be in a block that could not be read
        shown = "such integration" if (key,) in data.secret_keys else f"integration `{name}`"
        hint = did_you_mean(name, integrations) or (f"there are {one_of(integrations)}" if integrations else "")
        location, subject = data.item_location(key, position), f"{data.subject} > {key}"
        reader.diagnostics.add(location, subject, f"there is no {shown}", code=Code.UNKNOWN_INTEGRATION, hint=hint)
    return False


def read_integration(block: Block, reader: BlockReader, adapters: Mapping[str, AdapterSpec]) -> Integration | None:
    """Read one integration; add diagnostics and return None where it is faulty."""
    name, subject = block.labels[0], str(block)
    if not re.fullmatch(NAME_PATTERN, name):
        message = "a label has letters, digits, `_` and `-` only"
        reader.diagnostics.add(block.location, subject, message, code=Code.INVALID_LABEL)
    if len(name) > MOST_LABEL:
        message = f"a label has {MOST_LABEL} characters at most, so that the types of its events fit into 255 bytes"
        reader.diagnostics.add(block.location, subject, message, code=Code.INVALID_LABEL)
    if name in RESERVED:
        reader.diagnostics.add(block.location, subject, f"the label `{name}` is reserved", code=Code.INVALID_LABEL)
    kind = next((attribute for attribute in block.attributes if attribute.name == "type"), None)
    type_value = reader.compile(kind, subject) if kind else None
    spec = _spec(type_value, block, reader, adapters) if type_value else None
    if kind is None and block.complete and "type" not in block.damaged:
        hint = f"there are {one_of(adapters)}"
        reader.diagnostics.add(block.location, subject, "`type` is missing", code=Code.MISSING_KEY, hint=hint)
    auth_model = _auth_model(block, reader, spec)
    shape = _shape(spec, auth_model)
    rest = msgspec.structs.replace(block, attributes=tuple(one for one in block.attributes if one is not kind))
    data = reader.data(rest, shape, subject)
    if spec is not None and ("endpoint", "url") in data.placeholders:
        _complete_url(data.values["endpoint"], spec)
    endpoint = _part(Endpoint, "endpoint", data, reader)
    tls = _part(Tls, "tls", data, reader)
    resilience = _part(ResilienceSettings, "resilience", data, reader)
    health = _part(HealthSettings, "health", data, reader)
    auth = _part(auth_model, "auth", data, reader, secret=True) if auth_model else NO_AUTH
    if spec is None:
        return None
    config = reader.model(spec.config, data, data.values.get("config") or {}, ("config",))
    known = _check_endpoint(endpoint, spec, data, reader)
    spec = spec.over(endpoint)
    _check_files(tls, auth, data, reader)
    if tls is None or resilience is None or health is None or auth is None or config is None:
        return None
    if data.incomplete or any(key[0] in {"endpoint", "config"} for key in data.broken):
        return None
    if known:
        try:
            spec.resolve(endpoint, auth, tls, config)
        except EndpointError as error:
            subject = " > ".join([data.subject, *error.key])
            message = reader.message_of(error.words, error.key, data)
            reader.diagnostics.add(data.location(error.key), subject, message, code=Code.INVALID_ADDRESS)
    return Integration(
        name,
        spec.protocol,
        spec,
        endpoint,
        auth,
        tls,
        config,
        resilience,
        health,
        block.location,
        frozenset(data.secret_keys),
    )


def _part(model: type[Any], name: str, data: Data, reader: BlockReader, *, secret: bool = False) -> Any:
    values = data.values.get(name)
    if values is None and name == "endpoint":
        return None
    return reader.model(model, data, {} if values is None else values, (name,), secret=secret)


def _spec(
    expression: Expression, block: Block, reader: BlockReader, adapters: Mapping[str, AdapterSpec]
) -> AdapterSpec | None:
    location = next(attribute.value for attribute in block.attributes if attribute.name == "type")
    name = expression.evaluate({})
    if name == USED and not expression.secret:
        message = f"integrations of the type `{USED}` are those of other nodes of a fabric"
        hint = f'write the label under `use` of a `{USED} "name" {{ … }}` block, and no `integration` block for it'
        reader.diagnostics.add(location, f"{block} > type", message, code=Code.UNKNOWN_TYPE, hint=hint)
        return None
    if isinstance(name, str) and name in adapters:
        try:
            return adapters[name]
        except ImportError as error:
            message = f"`{name}` is installed, but cannot be loaded: {error}"
            reader.diagnostics.add(location, f"{block} > type", message, code=Code.UNKNOWN_TYPE)
            return None
    if expression.secret:
        shown = "there is no such type"
    else:
        shown = f"there is no `{name}`" if isinstance(name, str) else "must be a string"
    hint = f"there are {one_of(adapters)}"
    if isinstance(name, str) and not expression.secret and (meant := did_you_mean(name, adapters)):
        hint = f"{meant} {hint}"
    reader.diagnostics.add(location, f"{block} > type", shown, code=Code.UNKNOWN_TYPE, hint=hint)
    return None


def _auth_model(block: Block, reader: BlockReader, spec: AdapterSpec | None) -> Any:
    """Return the model of the `auth` block by its `type`; None where that is faulty or there is no such block."""
    auth = next((child for child in block.blocks if child.type == "auth"), None)
    if auth is None:
        return None
    subject = f"{block} > auth"
    kind = next((attribute for attribute in auth.attributes if attribute.name == "type"), None)
    known = [name for name in AUTH_MODELS if spec is None or name in spec.auth or name == "none"]
    if kind is None:
        if auth.complete and "type" not in auth.damaged:
            hint = f"there are {one_of(known)}"
            reader.diagnostics.add(auth.location, subject, "`type` is missing", code=Code.MISSING_KEY, hint=hint)
        return None
    expression = reader.compile(kind, subject, kind="auth")
    if expression is None:
        return None
    name = expression.evaluate({})
    if name not in AUTH_MODELS:
        hint = did_you_mean(name, AUTH_MODELS) if isinstance(name, str) else ""
        message = f"must be one of {one_of(known)}"
        reader.diagnostics.add(kind.value, f"{subject} > type", message, code=Code.UNKNOWN_TYPE, hint=hint)
        return None
    if spec is not None and name != "none" and name not in spec.auth:
        message = f"`{spec.protocol}` cannot use `{name}`; it takes {one_of(spec.auth | {'none'})}"
        reader.diagnostics.add(kind.value, f"{subject} > type", message, code=Code.UNSUPPORTED_BY_PROTOCOL)
    return AUTH_MODELS[name]


def _shape(spec: AdapterSpec | None, auth: type[BaseModel] | None) -> type[BaseModel]:
    """Return the integration's model with the parts that depend on its types; it gives names and types of keys."""
    fields: dict[str, Any] = {}
    if spec is not None:
        fields["config"] = spec.config
    if auth is not None:
        fields["auth"] = auth
    namespace = {"__annotations__": fields, "__module__": __name__, **dict.fromkeys(fields)}
    return type("Integration", (IntegrationBlock,), namespace)


def _check_endpoint(endpoint: Endpoint | None, spec: AdapterSpec, data: Data, reader: BlockReader) -> bool:
    """Check the endpoint block; return whether there is one, with a scheme that the protocol takes."""
    if "endpoint" not in data.values:
        if spec.needs_endpoint and not data.has("endpoint"):
            message = f"`{spec.protocol}` needs an `endpoint` block"
            reader.diagnostics.add(data.block.location, data.subject, message, code=Code.MISSING_KEY)
        return False
    if not spec.needs_endpoint:
        location = data.location(("endpoint",))
        message, code = f"`{spec.protocol}` has no remote; leave it out", Code.UNSUPPORTED_BY_PROTOCOL
        reader.diagnostics.add(location, f"{data.subject} > endpoint", message, code=code)
        return False
    if endpoint is None:
        return False
    by_scheme = spec.by_scheme()
    if endpoint.scheme is None or endpoint.scheme in by_scheme:
        return True
    key = ("endpoint", endpoint.key)
    message = f"`{spec.protocol}` takes the schemes {one_of(by_scheme)} only"
    reader.diagnostics.add(
        data.location(key), " > ".join([data.subject, *key]), message, code=Code.UNSUPPORTED_BY_PROTOCOL
    )
    return False


def _complete_url(endpoint: dict[str, Any], spec: AdapterSpec) -> None:
    """Give a URL that is made of a placeholder a scheme where it has none: one with TLS, if the protocol has it."""
    if "://" not in str(endpoint["url"]):
        schemes = [scheme for one in (spec, *spec.transports) for scheme in one.schemes]
        secure = [scheme for scheme, (_, tls) in spec.schemes.items() if tls]
        for scheme in [*secure, *schemes][:1]:
            endpoint["url"] = f"{scheme}://{endpoint['url']}"


def _check_files(tls: Tls | None, auth: Any, data: Data, reader: BlockReader) -> None:
    named = {("tls", "ca"): tls.ca if tls else None}
    if isinstance(auth, AuthCertificate):
        named |= {("auth", "cert"): auth.cert, ("auth", "key"): auth.key}
    if isinstance(auth, AuthCredentials):
        named |= {("auth", "file"): auth.file}
    for key, path in named.items():
        fault = None if path is None or key in data.placeholders else _fault_of_file(path)
        if fault is not None:
            shown = "" if key in data.secret_keys else f" {path}"
            subject = " > ".join([data.subject, *key])
            reader.diagnostics.add(data.location(key), subject, f"{fault}{shown}", code=Code.UNUSABLE_FILE)


def _fault_of_file(path: Path) -> str | None:
    try:
        found = path.stat()
    except PermissionError:  # up to 3.13, is_file() also raises it
        return "the bridge may not read the file"
    except OSError:
        return "there is no such file"
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    return None if os.access(path, os.R_OK) else "the bridge may not read the file"
