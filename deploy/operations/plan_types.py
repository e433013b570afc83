"""Writes the events of a tracking plan as types of TypeScript, Kotlin and Swift: a compiler finds what breaks it.

A type holds the properties of one event; its name is the event's without spaces. Money, times and dates are texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from schemas.intake.plan import Kind, PlanDefinitions, PlannedEvent, PlannedProperty

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
_WORDS = re.compile(r"[A-Za-z0-9]+", re.ASCII)
_TEXTS = {Kind.TEXT, Kind.MONEY, Kind.TIME, Kind.DATE}
_KOTLIN = {Kind.INTEGER: "Long", Kind.NUMBER: "Double", Kind.BOOLEAN: "Boolean"}
_SWIFT = {Kind.INTEGER: "Int", Kind.NUMBER: "Double", Kind.BOOLEAN: "Bool"}


def _reserved(words: str) -> frozenset[str]:
    return frozenset(words.split())


_KOTLIN_WORDS = _reserved(
    "as break class continue do else false for fun if in interface is null object package return super this throw"
    " true try typealias typeof val var when while"
)
_SWIFT_WORDS = _reserved(
    "as associatedtype break case catch class continue default defer deinit do else enum extension fallthrough"
    " false fileprivate for func guard if import in init inout internal is let nil operator precedencegroup"
    " private protocol public repeat rethrows return self Self static struct subscript super switch throw throws"
    " true try typealias var where while event"
)
_TYPES = _reserved(
    "Any Array Bool Boolean Codable CodingKey CodingKeys Double Int List Long Map Sendable Self String Type"
)
_WRITTEN = "Written by `throughline plan export`: change the tracking plan, not this file."


class PlanExportError(ValueError):
    """Two names of a plan become one in a language; the message names them."""


class _Member(NamedTuple):
    """One property as a language names it."""

    key: str
    name: str
    planned: PlannedProperty


def typescript(plan: PlanDefinitions, source: str = "") -> str:
    """Write interfaces, and a map from the names of events to them.

    Args:
        plan: The plan.
        source: Whose properties; empty: those of sources that do not differ.

    Raises:
        PlanExportError: Two names become one.
    """
    parts, names = [f"// {_WRITTEN}\n"], []
    for event, planned, name in _events(plan, source):
        fields = _typescript_fields(planned.properties_of(source), "  ")
        parts.append(f"/** {_comment(planned.meaning, planned.owner)} */\nexport interface {name} {{\n{fields}}}\n")
        names.append(f"  {json.dumps(event)}: {name};\n")
    return "\n".join([*parts, f"export interface PlannedEvents {{\n{''.join(names)}}}\n"])


def kotlin(plan: PlanDefinitions, source: str = "") -> str:
    """Write data classes with the event's name and its properties as a map; arguments and errors as of `typescript`."""
    classes = [
        f"/** {_comment(planned.meaning, planned.owner)} */\n"
        + _kotlin_class(name, planned.properties_of(source), "", constant=event)
        for event, planned, name in _events(plan, source)
    ]
    return "\n".join([f"// {_WRITTEN}\n", *classes])


def swift(plan: PlanDefinitions, source: str = "") -> str:
    """Write structures that encode to an event's properties. Arguments and errors: `typescript`."""
    structures = [
        f"/// {_comment(planned.meaning, planned.owner)}\n"
        + _swift_structure(name, planned.properties_of(source), "", constant=event)
        for event, planned, name in _events(plan, source)
    ]
    return "\n".join([f"// {_WRITTEN}\n", *structures])


LANGUAGES: Mapping[str, Callable[[PlanDefinitions, str], str]] = {
    "typescript": typescript,
    "kotlin": kotlin,
    "swift": swift,
}


def _events(plan: PlanDefinitions, source: str) -> Iterator[tuple[str, PlannedEvent, str]]:
    known: dict[str, str] = {}
    for event, planned in sorted(plan.events.items()):
        if source and planned.only_sources and source not in planned.sources:
            continue
        name = _pascal(event)
        if other := known.get(name):
            raise PlanExportError(f"{other!r} and {event!r} would both be the type {name}: rename one of them")
        known[name] = event
        yield event, planned, name


def _members(properties: Mapping[str, PlannedProperty], reserved: frozenset[str]) -> list[_Member]:
    found: dict[str, _Member] = {}
    for key, planned in sorted(properties.items(), key=lambda one: not one[1].required):
        pascal = _pascal(key)
        name = pascal[:1].lower() + pascal[1:]
        if name in found:
            raise PlanExportError(f"the properties {found[name].key!r} and {key!r} would both be {name}")
        found[name] = _Member(key, f"`{name}`" if name in reserved else name, planned)
    return list(found.values())


# TypeScript


def _typescript_fields(properties: Mapping[str, PlannedProperty], indent: str) -> str:
    lines = []
    for key, planned in properties.items():
        name = key if _IDENTIFIER.fullmatch(key) else json.dumps(key)
        comment = f"{indent}/** {_comment(planned.meaning)} */\n" if planned.meaning else ""
        optional = "" if planned.required else "?"
        lines.append(f"{comment}{indent}{name}{optional}: {_typescript_type(planned, indent)};\n")
    return "".join(lines)


def _typescript_type(planned: PlannedProperty, indent: str) -> str:
    if planned.values:
        return " | ".join(json.dumps(value) for value in planned.values)
    if planned.type is Kind.LIST:
        return f"Array<{_typescript_type(planned.of, indent) if planned.of else 'unknown'}>"
    if planned.type is Kind.OBJECT:
        inner = _typescript_fields(planned.properties, f"{indent}  ")
        return f"{{\n{inner}{indent}}}" if planned.properties else "Record<string, unknown>"
    if planned.type in _TEXTS:
        return "string"
    return "boolean" if planned.type is Kind.BOOLEAN else "number"


# Kotlin


def _kotlin_class(
    name: str, properties: Mapping[str, PlannedProperty], indent: str, constant: str | None = None
) -> str:
    inside = f"{indent}    "
    members, fields, nested, puts = _members(properties, _KOTLIN_WORDS), [], [], []
    for one in members:
        kind = _kotlin_type(one.planned, _type_name(one.key))
        fields.append(
            (f"{inside}/** {_comment(one.planned.meaning)} */\n" if one.planned.meaning else "")
            + f"{inside}val {one.name}: {kind}{'' if one.planned.required else '? = null'},\n"
        )
        nested += _kotlin_nested(one.planned, _type_name(one.key), inside)
        key = _kotlin_text(one.key)
        if one.planned.required:
            puts.append(f"{inside}    put({key}, {_kotlin_value(one.planned, one.name)})\n")
        else:
            puts.append(
                f"{inside}    {one.name}?.let {{ value -> put({key}, {_kotlin_value(one.planned, 'value')}) }}\n"
            )
    event = (
        f"{inside}companion object {{\n{inside}    const val EVENT = {_kotlin_text(constant)}\n{inside}}}\n"
        if constant
        else ""
    )
    head = f"{indent}data class {name}(\n{''.join(fields)}{indent})" if fields else f"{indent}class {name}"
    body = f"{inside}fun properties(): Map<String, Any> = buildMap {{\n{''.join(puts)}{inside}}}\n"
    return f"{head} {{\n{''.join(nested)}{body}{event}{indent}}}\n"


def _kotlin_type(planned: PlannedProperty, name: str) -> str:
    if planned.type is Kind.LIST:
        return f"List<{_kotlin_type(planned.of, name) if planned.of else 'Any'}>"
    if planned.type is Kind.OBJECT:
        return name if planned.properties else "Map<String, Any>"
    if planned.values and planned.type is Kind.TEXT:
        return name
    return _KOTLIN.get(planned.type, "String")


def _kotlin_nested(planned: PlannedProperty, name: str, indent: str) -> list[str]:
    if planned.of:
        return _kotlin_nested(planned.of, name, indent)
    if planned.properties:
        return [_kotlin_class(name, planned.properties, indent)]
    if planned.values and planned.type is Kind.TEXT:
        cases = ", ".join(f"{case.upper()}({_kotlin_text(value)})" for case, value in _cases(planned))
        return [f"{indent}enum class {name}(val value: String) {{ {cases} }}\n"]
    return []


def _kotlin_value(planned: PlannedProperty, name: str) -> str:
    if planned.of:
        inner = _kotlin_value(planned.of, "it")
        return name if inner == "it" else f"{name}.map {{ {inner} }}"
    if planned.properties:
        return f"{name}.properties()"
    return f"{name}.value" if planned.values and planned.type is Kind.TEXT else name


def _kotlin_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$")


# Swift


def _swift_structure(
    name: str, properties: Mapping[str, PlannedProperty], indent: str, constant: str | None = None
) -> str:
    inside = f"{indent}    "
    members = _members(properties, _SWIFT_WORDS)
    event = f"{inside}public static let event = {_swift_text(constant)}\n" if constant else ""
    fields, nested = [], []
    for one in members:
        kind = _swift_type(one.planned, _type_name(one.key)) + ("" if one.planned.required else "?")
        comment = f"{inside}/// {_comment(one.planned.meaning)}\n" if one.planned.meaning else ""
        fields.append(f"{comment}{inside}public var {one.name}: {kind}\n")
        nested += _swift_nested(one.planned, _type_name(one.key), inside)
    arguments = ", ".join(
        f"{one.name}: {_swift_type(one.planned, _type_name(one.key))}{'' if one.planned.required else '? = nil'}"
        for one in members
    )
    set_all = "".join(f"{inside}    self.{one.name} = {one.name}\n" for one in members)
    start = f"{inside}public init({arguments}) {{\n{set_all}{inside}}}\n"
    cases = "".join(f"{inside}    case {one.name} = {_swift_text(one.key)}\n" for one in members)
    keys = f"{inside}enum CodingKeys: String, CodingKey {{\n{cases}{inside}}}\n" if members else ""
    body = f"{event}{''.join(fields)}{''.join(nested)}{start}{keys}"
    return f"{indent}public struct {name}: Codable, Sendable {{\n{body}{indent}}}\n"


def _swift_type(planned: PlannedProperty, name: str) -> str:
    if planned.type is Kind.LIST:
        return f"[{_swift_type(planned.of, name) if planned.of else 'String'}]"
    if planned.type is Kind.OBJECT:
        return name if planned.properties else "[String: String]"
    if planned.values and planned.type is Kind.TEXT:
        return name
    return _SWIFT.get(planned.type, "String")


def _swift_nested(planned: PlannedProperty, name: str, indent: str) -> list[str]:
    if planned.of:
        return _swift_nested(planned.of, name, indent)
    if planned.properties:
        return [_swift_structure(name, planned.properties, indent)]
    if planned.values and planned.type is Kind.TEXT:
        cases = "".join(
            f"{indent}    case {f'`{case}`' if case in _SWIFT_WORDS else case} = {_swift_text(value)}\n"
            for case, value in _cases(planned)
        )
        return [f"{indent}public enum {name}: String, Codable, Sendable {{\n{cases}{indent}}}\n"]
    return []


def _swift_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# Names and comments


def _pascal(text: str) -> str:
    name = "".join(word[:1].upper() + word[1:] for word in _WORDS.findall(text))
    return name if name[:1].isalpha() else f"Of{name}"


def _type_name(key: str) -> str:
    """Name the type of a property that has one of its own; never as a type that the languages have."""
    name = _pascal(key)
    return f"{name}Value" if name in _TYPES else name


def _cases(planned: PlannedProperty) -> list[tuple[str, str]]:
    """Name the allowed values of a text, each differently."""
    found: dict[str, str] = {}
    for value in map(str, planned.values):
        words = "_".join(word.lower() for word in _WORDS.findall(value)) or "empty"
        name = words if words[:1].isalpha() else f"of_{words}"
        while name in found:
            name += "_"
        found[name] = value
    return list(found.items())


def _comment(meaning: str, owner: str = "") -> str:
    """Write a comment on one line that cannot end itself."""
    text = " ".join(f"{meaning}{f' Owner: {owner}.' if owner else ''}".split())
    return text.replace("*/", "* /")
