"""Tell in which block a key belongs, and which of our blocks a misspelt one means; all of it from the models."""

import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from bridge.config.models import AUTH_MODELS, LABELLED_BLOCKS, SINGLE_BLOCKS

_BLOCKS: Final = {**SINGLE_BLOCKS, **LABELLED_BLOCKS}
#: Blocks of which each is about the same things as the others, so that a key is easily written in the wrong one.
_RELATED: Final = (frozenset(SINGLE_BLOCKS), frozenset({"integration", "route", "subscription", "fabric"}))
#: The most places that are named for one key.
_MOST_PLACES: Final = 3
#: What people write for the label of a block.
_LABEL: Final = frozenset({"name", "id", "label"})
#: Types of blocks that a Nemo application has, in HCL and as elements; none of them is one of ours that is misspelt.
_OF_NEMO: Final = frozenset(
    {
        *("accordion", "action", "actions", "alert", "app", "application", "avatar", "badge", "binding", "bindings"),
        *("button", "checkbox", "collapsible", "component", "components", "data", "dock", "event", "events"),
        *("extension", "extensions", "footer_bar", "grid", "handler", "header_bar", "icon", "image", "import"),
        *("imports", "include", "input", "label", "layout", "list", "logo", "menu", "modal", "nemo", "notification"),
        *("on", "option", "page", "pages", "panel", "plugin", "plugins", "progress", "props", "radio", "router"),
        *("script", "scripts", "select", "sink", "slider", "source", "spinner", "stack", "style", "switch", "table"),
        *("tabs", "tag", "template", "templates", "text", "textarea", "theme", "themes", "toggle", "tooltip", "tree"),
        *("vars", "window"),
    }
)


def bare(annotation: Any) -> Any:
    """Return an annotation without `Annotated` and `| None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return bare(typing.get_args(annotation)[0])
    arguments = [found for found in typing.get_args(annotation) if found is not type(None)]
    if type(None) in typing.get_args(annotation) and len(arguments) == 1:
        return bare(arguments[0])
    return annotation


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of the block, or of each block, that a key holds; None where it holds none."""
    found = bare(annotation)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    if typing.get_origin(found) in {list, tuple, dict, Mapping}:
        models = [inner_model(argument) for argument in typing.get_args(found)]
        return next((model for model in models if model is not None), None)
    return None


def keys_of(model: type[BaseModel]) -> set[str]:
    """Return the keys of a model, as a file has them."""
    return {found.alias or name for name, found in model.model_fields.items()}


class _Place(msgspec.Struct, frozen=True):
    """A block that has a key.

    Attributes:
        path: The types of the blocks, from the outermost to the one that has it: `("integration", "resilience")`.
        beside: What must stand beside it, as in `type = "bearer"`; empty for nothing.
    """

    path: tuple[str, ...]
    beside: str = ""


def where_it_belongs(
    key: str, at: tuple[str, ...], outermost: type[BaseModel] | None
) -> tuple[str, list[tuple[str, ...]]]:
    """Return where a key belongs that its own block does not have.

    Args:
        key: The key, or the type of a block inside of another.
        at: The types of the blocks around it, the outermost first.
        outermost: The model of the outermost block, with those of `config` and `auth` where they are known.

    Returns:
        A hint for a person, empty where no block near has the key; and the paths in the same outermost block at which
        it may have been meant.
    """
    if key in _BLOCKS:
        return f"`{key}` stands outside of all other blocks; a `}}` may be missing before it", []
    if len(at) == 1 and at[0] in LABELLED_BLOCKS and key in _LABEL:
        return f'the label is the name: `{at[0]} "…" {{`', []
    places = _nearest(key, at, outermost)
    hint = f"`{key}` belongs in {_named(places, at)}" if places else ""
    return hint, [(*place.path[1:], key) for place in places if place.path[0] == at[0]]


def blocks_where_plain(key: str, at: tuple[str, ...], outermost: type[BaseModel] | None) -> str:
    """Return the blocks, as in `` `resilience` or `health` ``, that have a key which is a block here and none there.

    The arguments are those of `where_it_belongs`.
    """
    return _named(_nearest(key, at, outermost, plain=True), at)


def _nearest(key: str, at: tuple[str, ...], outermost: type[BaseModel] | None, *, plain: bool = False) -> list[_Place]:
    """Return the places of a key that are nearest, by the number of blocks that one has to leave and to enter."""
    related = {kind for group in _RELATED if at[0] in group for kind in group}
    models = {kind: model for kind, model in _BLOCKS.items() if kind in related} | (
        {at[0]: outermost} if outermost is not None else {}
    )
    places = [place for kind, model in models.items() for place in _places(key, kind, model, plain=plain)]
    distances = {place: _distance(at, place.path) for place in places}
    nearest = min(distances.values(), default=0)
    return [place for place in distances if distances[place] == nearest]


def _places(key: str, kind: str, model: type[BaseModel], *, plain: bool) -> Iterator[_Place]:
    found = [
        _Place(path)
        for path, block in _blocks(model, (kind,))
        for name, field in block.model_fields.items()
        if key == (field.alias or name) and not (plain and inner_model(field.annotation))
    ]
    yield from found
    auth = (kind, "auth")
    if "auth" in model.model_fields and _Place(auth) not in found:
        for name, block in AUTH_MODELS.items():
            if key in keys_of(block) - {"type"}:
                yield _Place(auth, f'`type = "{name}"`')


def _blocks(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        inner = inner_model(field.annotation)
        if inner is not None:
            yield from _blocks(inner, (*path, field.alias or name))


def _distance(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    return len(one) + len(other) - 2 * common


def _named(places: Iterable[_Place], at: tuple[str, ...]) -> str:
    found: dict[str, None] = {}
    for place in places:
        path = place.path[1:] if place.path[0] == at[0] and len(place.path) > 1 else place.path
        found[f"`{' > '.join(path)}`{f' with {place.beside}' if place.beside else ''}"] = None
    *before, last = [*found][:_MOST_PLACES] or [""]
    return f"{', '.join(before)} or {last}" if before else last


def block_meant(name: str, keys: Collection[str], ours: Iterable[str]) -> str | None:
    """Return the type of ours that a block's type is a misspelling of; None where it is a block of others.

    It is one where at most two edits separate them, and at most a third as many as the type has letters; or one edit,
    where the block has a key that ours has. An edit is a letter too many, too few or another, or two that are swapped.
    Small and capital letters count as the same.

    Args:
        name: The type of the block, which is none of ours.
        keys: The keys in the block, those of its inner blocks not included.
        ours: The types of our blocks.
    """
    small = name.lower()
    if is_of_nemo(name):
        return None
    distances = {kind: _edits(small, kind) for kind in sorted(ours) if abs(len(kind) - len(small)) <= 2}
    for kind, edits in sorted(distances.items(), key=lambda found: found[1]):
        has_key = kind in _BLOCKS and not keys_of(_BLOCKS[kind]).isdisjoint(keys)
        if (edits <= 2 and 3 * edits <= len(small)) or (edits == 1 and has_key):
            return kind
    return None


def is_of_nemo(name: str) -> bool:
    """Return whether a Nemo application has blocks of this type."""
    return name.lower() in _OF_NEMO


def misplaced_block(name: str, keys: Collection[str]) -> str:
    """Return where a block belongs that stands outside of all others, for a person; empty where it is none of ours.

    It is one of ours where all its keys are keys of ours.
    """
    found = [
        path[:-1]
        for kind, model in _BLOCKS.items()
        for path, block in _blocks(model, (kind,))
        if path[-1] == name and len(path) > 1 and keys_of(block).issuperset(keys)
    ]
    if name == "auth" and any(keys_of(model).issuperset(keys) for model in AUTH_MODELS.values()):
        found.append(("integration",))
    return f"`{name}` belongs in `{' > '.join(found[0])}`" if found and keys else ""


def _edits(one: str, other: str) -> int:
    """Return how many edits make one word of another (optimal string alignment)."""
    before: list[int] = []
    row: list[int] = [*range(len(other) + 1)]
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                edits = min(edits, older[j - 2] + 1)
            row.append(edits)
    return row[-1]
