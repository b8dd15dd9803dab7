"""Make the JSON Schema of the configuration from the models that check it."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge.config.models import AUTH_MODELS, LABELLED_BLOCKS, NAME_PATTERN, RESERVED, SINGLE_BLOCKS
from bridge.config.options import summary
from bridge.core.endpoint import Endpoint, Tls
from bridge.core.ports import AdapterSpec
from bridge.core.settings import HealthSettings, ResilienceSettings

_LABELLED: Final = {name: model for name, model in LABELLED_BLOCKS.items() if name != "integration"}
_PARTS: Final[dict[str, type[BaseModel]]] = {
    "endpoint": Endpoint,
    "tls": Tls,
    "resilience": ResilienceSettings,
    "health": HealthSettings,
}
_EXAMPLE: Final = {
    "integration": {
        "backend_api": {
            "type": "json-rpc",
            "endpoint": {"url": "https://api.example.com/rpc"},
            "auth": {"type": "bearer", "token": "${env.API_TOKEN}"},
            "resilience": {"retry": {"max_attempts": 3, "backoff": "exponential"}},
        }
    },
    "route": {
        "orders": {
            "on": ["order.*"],
            "where": "${event.payload.total > 100}",
            "integration": "backend_api",
            "operation": "request",
            "method": "orders.create",
            "params": {"id": "${event.payload.id}"},
        }
    },
}


def schema(adapters: Mapping[str, AdapterSpec]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configuration as data.

    A block without a label is an object under its name, `bridge`; one with a label is an object of objects,
    `integration.<label>`. It describes values after `env` and `var` are resolved.
    """
    from bridge.config.case_models import CaseBlock  # noqa: PLC0415 - the running sidecar needs no tests

    specs = [adapters[name] for name in sorted(adapters)]
    labelled: dict[str, type[BaseModel]] = {**_LABELLED, "test": CaseBlock}
    models = [*SINGLE_BLOCKS.values(), *labelled.values(), *_PARTS.values(), *AUTH_MODELS.values()]
    models += [spec.config for spec in specs]
    found, definitions = models_json_schema([(model, "validation") for model in dict.fromkeys(models)])
    references = {model: found[model, "validation"] for model in models}
    properties: dict[str, Any] = {name: _described(references, model) for name, model in SINGLE_BLOCKS.items()}
    for name, model in labelled.items():
        named: dict[str, Any] = {"minLength": 1} if name == "test" else {"pattern": NAME_PATTERN}
        properties[name] = _labelled(references[model], summary(model), named)
    labels = {"pattern": NAME_PATTERN, "not": {"enum": sorted(RESERVED)}}
    integration = {"oneOf": [_integration(spec, references) for spec in specs]}
    properties["integration"] = _labelled(integration, "A remote that the bridge is connected with.", labels)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nemo-bridge configuration",
        "description": "The configuration, version 1, as data. Blocks of other programs may stand beside it.",
        "type": "object",
        "properties": properties,
        "examples": [_EXAMPLE],
        "$defs": definitions["$defs"],
    }


def _described(references: Mapping[type[BaseModel], Any], model: type[BaseModel]) -> dict[str, Any]:
    return {**references[model], "description": summary(model)}


def _labelled(content: Any, description: str, labels: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "propertyNames": labels,
        "additionalProperties": content,
    }


def _integration(spec: AdapterSpec, references: dict[type[BaseModel], Any]) -> dict[str, Any]:
    auth = [references[model] for kind, model in AUTH_MODELS.items() if kind in spec.auth or kind == "none"]
    properties = {
        "type": {"const": spec.protocol, "description": "The protocol."},
        **{part: _described(references, model) for part, model in _PARTS.items()},
        "auth": {"description": "What proves to the remote who we are.", "oneOf": auth},
        "config": _described(references, spec.config),
    }
    required = ["type"]
    if spec.needs_endpoint:
        required.append("endpoint")
    else:
        del properties["endpoint"]
    if any(field.is_required() for field in spec.config.model_fields.values()):
        required.append("config")
    return {
        "title": spec.protocol,
        "description": spec.summary,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
