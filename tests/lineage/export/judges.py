"""Judges of exports: official readers, and the schemas that are published."""

import json
import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import attr
from jsonschema import Draft4Validator, Draft202012Validator
from openlineage.client.event_v2 import RunEvent
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    input_statistics_input_dataset,
    parent_run,
)
from openlineage.client.serde import Serde
from prov.model import ProvDocument
from referencing import Registry
from referencing.jsonschema import DRAFT202012

CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
CORE_SHA256 = "69f68bee00b9beac88a87059c0102410e7bb05f3f43c46d02a0409831eceb0d2"
URIS = ("producer", "schemaURL", "_producer", "_schemaURL")
FORMATS = {"runId": "uuid", "eventTime": "date-time", **dict.fromkeys(URIS, "uri")}
FACETS = {
    "parent": parent_run.ParentRunFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
}
"""The classes of the standard facets, by the name that a facet has in an event."""

Json = dict[str, Any]
_hints = cache(get_type_hints)


def read(kind: Any, value: Any) -> Any:
    """The value as the client's classes have it, where nothing is unknown or converted."""
    if NoneType in get_args(kind):
        return read(get_args(kind)[0], value)
    if get_origin(kind) is list:
        return [read(*get_args(kind), each) for each in _typed(list, value)]
    if get_origin(kind) is dict:
        base = get_args(kind)[1]
        return {name: _facet(name, base, each) for name, each in _typed(dict, value).items()}
    if attr.has(kind):
        return _fields(kind, _typed(dict, value))
    return kind(value) if issubclass(kind, Enum) else _typed(kind, value)


def _typed(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value


def _fields(kind: type[Any], value: Json) -> Any:
    hints, fields = _hints(kind), attr.fields(kind)
    if unknown := value.keys() - {field.name for field in fields}:
        raise ValueError(f"{kind.__name__} has no {sorted(unknown)}")
    given = {field.alias: _field(hints[field.name], field.name, value) for field in fields}
    return kind(**{field.alias: given[field.alias] for field in fields if field.init})


def _field(kind: Any, name: str, value: Json) -> Any:
    if name not in value:
        if NoneType in get_args(kind):
            return None
        raise ValueError(f"{name!r} is a required property")
    found = read(kind, value[name])
    if not Draft202012Validator.FORMAT_CHECKER.conforms(found, FORMATS.get(name, "")):
        raise ValueError(f"{found!r} is not a {FORMATS[name]!r}")
    return found


def _facet(name: str, base: type[Any], value: Json) -> Any:
    """A facet of a standard class, or of its base class with fields of our own."""
    if name.startswith("expunge_"):
        ours = {field: each for field, each in value.items() if field[0] != "_"}
        plain = {field: each for field, each in value.items() if field not in ours}
        made = _fields(base, plain).with_additional_properties(**ours)
    else:
        kind = FACETS.get(name, base)
        made = _fields(kind, value)
        if not issubclass(kind, base) or _series(made._schemaURL) != _series(value["_schemaURL"]):
            raise ValueError(f"{value['_schemaURL']} is not the {base.__name__} {name!r}")
    made._schemaURL = value["_schemaURL"]  # the class names its own schema: of ours it has none
    return made


def _series(url: str) -> str:
    """A schema's URL without the last number of its version, which is that of additions."""
    return re.sub(r"/(\d+-\d+)-\d+/", r"/\1/", url)


def _facets(event: Json) -> Iterator[tuple[str, Json]]:
    yield from event["run"]["facets"].items()
    for dataset in (*event["inputs"], *event["outputs"]):
        yield from dataset["facets"].items()
        yield from dataset.get("inputFacets", {}).items()


class _JudgeOfEvents:
    """Knows the published schema of events, and our own of our facets, which is shipped."""

    def __init__(self) -> None:
        ours = _read(files("lineage.export") / "schemas" / "openlineage-facets-1-0-0.json")
        Draft202012Validator.check_schema(ours)
        self.registry = Registry().with_resources(
            (schema["$id"], DRAFT202012.create_resource(schema)) for schema in (_core(), ours)
        )
        self.validator = cache(self._validator)

    def _validator(self, url: str) -> Draft202012Validator:
        checker = Draft202012Validator.FORMAT_CHECKER
        return Draft202012Validator({"$ref": url}, registry=self.registry, format_checker=checker)

    def check(self, event: Json) -> None:
        for name, facet in _facets(event):
            if name.startswith("expunge_"):
                self.validator(facet["_schemaURL"]).validate(facet)


class ClientOfEvents(_JudgeOfEvents):
    """The official client reads events, and writes them alike."""

    def check(self, event: Json) -> None:
        again = Serde.to_json(read(RunEvent, event))
        if again != Serde.to_json(event):
            raise ValueError(f"the client writes another event: {again}")
        super().check(event)


class PublishedForEvents(_JudgeOfEvents):
    """Events are valid by the published schema; of standard facets it has the base alone."""

    def check(self, event: Json) -> None:
        self.validator(f"{CORE}#/$defs/RunEvent").validate(event)
        super().check(event)


def _core() -> Any:
    """The schema of OpenLineage 2-0-2 as published: `querygraph` has a copy, byte for byte."""
    file = distribution("querygraph").locate_file("querygraph/schemas/OpenLineage-2-0-2.json")
    text = Path(str(file)).read_bytes()
    assert sha256(text).hexdigest() == CORE_SHA256
    return json.loads(text)


def _read(path: Traversable) -> Any:
    return json.loads(path.read_text("utf-8"))


class ReaderOfDocuments:
    """The reference implementation reads a document of each format, and finds it equal."""

    def check(self, made: ProvDocument) -> None:
        for form in ("json", "provn"):
            written = made.serialize(format=form)
            again = ProvDocument.deserialize(content=written, format=form)
            assert again == made, f"{form} reads back as another document: {written}"


class PublishedForDocuments:
    """The published schema of PROV-JSON, which comes with `prov`."""

    def __init__(self) -> None:
        schema = _read(files("prov") / "tests" / "schemas" / "prov-json.schema.json")
        checker = Draft4Validator.FORMAT_CHECKER
        self.validator = Draft4Validator(schema, format_checker=checker)

    def check(self, made: ProvDocument) -> None:
        self.validator.validate(json.loads(made.serialize()))
