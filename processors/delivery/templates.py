"""Renders templates: Liquid in a closed environment, where an unknown value is an error that names the value.

Closed means: a template has access to its JSON values and to the tags and filters of this module. It cannot read files,
the clock or attributes of objects; loops, variables and output are bounded. So the author of a template can harm
nothing but its message.

What a template may use: `profile` (as `throughline profile show --json`, but `summary`), `event` (what led here), `run`
(the journey's run: `data`, `key`, `last`), `message` (`id`, `journey`, `step`, `campaign`, `channel`,
`unsubscribe_url`, `preferences_url`, …) and `{% assign products = 4 | recommend %}`, or `recommend: "category"`. A
value that is null is as unknown as one that is absent: `{% if profile.traits.first_name %}` asks, `| default: "you"`
replaces, anything else fails. A trait that a producer calls `firstName`, as Segment's libraries do, is `first_name`
too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_currency
from liquid import BoundTemplate, Environment, FalsyStrictUndefined, Markup, RenderContext
from liquid.exceptions import LiquidError
from liquid.filter import with_context

from processors.delivery.template_names import NAMES, unknown_names, unknown_root
from schemas.delivery.templates import (
    DEFAULT_MESSAGE_FORMAT,
    MESSAGE_FORMATS,
    SMS_SEGMENTS,
    Content,
    Layout,
    Rendered,
    TemplateDefinition,
)
from schemas.spelling import suggestion
from schemas.time import parse_time

ROOTS = frozenset(NAMES)
"""The names of a template's values."""
ONE_LINE = ("subject", "preview", "title", "link")
"""Parts that are one line: white space becomes single blanks, so that no value can add a header or a line."""

_PARSER_TAGS = frozenset({"content", "output", "illegal"})
"""What text, `{{ … }}` and an unknown tag are to the parser."""
_UNKNOWN_TAG = re.compile(r"unexpected tag '(\w+)'")
_TAGS = _PARSER_TAGS | frozenset(
    {
        "if", "unless", "case", "for", "break", "continue", "assign", "capture", "comment", "#", "doc", "echo",
    }
)  # fmt: skip
_FILTERS = frozenset(
    {
        "default", "upcase", "downcase", "capitalize", "truncate", "truncatewords", "strip", "squish", "append",
        "prepend", "newline_to_br", "url_encode", "size", "first", "last", "join", "map", "where", "sort", "slice",
        "uniq", "compact",
    }
)  # fmt: skip
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_RANGE = re.compile(r"\{[{%](?:(?![}%]\}).)*?\(\s*[\w.\[\]'\"-]+\s*\.\.", re.DOTALL)
_ADDRESS_FROM_DATA = re.compile(r"""(?:href|src)\s*=\s*["']?\s*\{\{(?![^}]*\|\s*link\s*-?\}\})""", re.IGNORECASE)
_NOT_OFFERED = (
    (_RANGE, "ranges such as (1..5) are not offered: go through a list"),
    (_ADDRESS_FROM_DATA, 'write href="{{ … | link }}": an address from data must be checked'),
)
_WEB_ADDRESS = re.compile(r"https?://[^\s\"'<>\\]+", re.IGNORECASE)
_LINK = re.compile(r"(?!javascript:|data:|vbscript:)[a-z][a-z0-9+.-]*:[^\s\"'<>\\]+", re.IGNORECASE)

# 3GPP TS 23.038: the characters of an SMS of 160; those of the second table count twice.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("\f^{}\\[~]|€")


class TemplateError(Exception):
    """A template has an error, or cannot be rendered for this person.

    Attributes:
        template: Its name.
        path: Place in its file: channel, language, part.
        line: Line within the part, from 1; 0: the error concerns the whole part.
        column: Column in that line, from 1; 0: not known.
        further: The errors of other parts and templates that were found with this one.
    """

    def __init__(self, template: str, path: tuple[str, ...], line: int, message: str, column: int = 0) -> None:
        self.template, self.path, self.line, self.message, self.column = template, path, line, message, column
        self.further: tuple[TemplateError, ...] = ()
        place = ".".join((template, *path)) + (f" line {line}" if line else "")
        super().__init__(f"{place}: {message}")


class _Limited(Environment):
    loop_iteration_limit = 1_000
    local_namespace_limit = 200_000
    output_stream_limit = 200_000
    block_nesting_limit = 20
    context_depth_limit = 20


class _Compiled(NamedTuple):
    parts: dict[str, BoundTemplate]
    recommends: bool
    roots: frozenset[str]


class Templates:
    """All templates of a deployment, compiled.

    Args:
        definitions: By name.
        layout: The frame of every e-mail.

    Raises:
        TemplateError: A template does not parse, or uses an unknown value or filter; it has those of all templates.

    Attributes:
        unknown_names: Names that do not exist: they fail every message. They do not stop a deployment from starting.
    """

    def __init__(self, definitions: Mapping[str, TemplateDefinition], layout: Layout | None = None) -> None:
        self.unknown_names: list[TemplateError] = []
        self._errors: list[TemplateError] = []
        self._plain, self._html = _environment(autoescape=False), _environment(autoescape=True)
        self._defaults = {name: definition.default_language for name, definition in definitions.items()}
        self._compiled: dict[tuple[str, str], dict[str, _Compiled]] = {}
        for name, definition in definitions.items():
            for channel, languages in definition.channels.items():
                self._compiled[name, channel] = {
                    language: self._compile(name, channel, language, content) for language, content in languages.items()
                }
        self._layouts: dict[str, dict[str, BoundTemplate]] = {"html": {}, "text": {}}
        if layout is not None:
            for part in ("html", "text"):
                for language, source in getattr(layout, part).items():
                    path = (part, language)
                    if parsed := self._parse("_layout", path, source, part, ROOTS | {"content"}):
                        self._layouts[part][language] = parsed
        if self._errors:
            first, *further = [*self._errors, *self.unknown_names]
            first.further = tuple(further)
            raise first

    def names(self) -> list[str]:
        """Return the names of all templates."""
        return list(self._defaults)

    def channels(self, name: str) -> list[str]:
        """Return the channels for which a template has a text; none if there is no such template."""
        return [channel for known, channel in self._compiled if known == name]

    def languages(self, name: str, channel: str) -> list[str]:
        """Return the languages of a template on a channel."""
        return list(self._compiled.get((name, channel), ()))

    def recommends(self, name: str, channel: str) -> bool:
        """Return whether a template uses `recommend`, so that products have to be read for it."""
        return any(one.recommends for one in self._compiled.get((name, channel), {}).values())

    def uses(self, name: str, channel: str, root: str) -> bool:
        """Return whether a template uses one of the values of `ROOTS`, such as `product`."""
        return any(root in one.roots for one in self._compiled.get((name, channel), {}).values())

    def data(self, name: str, channel: str) -> set[str]:
        """Return the keys of the message's own `data` that a template uses: `{"coupon"}` for `run.data.coupon`."""
        parts = (part for one in self._compiled.get((name, channel), {}).values() for part in one.parts.values())
        used = (use.segments for part in parts for use in part.analyze().globals.get("run", ()))
        return {str(path[2]) for path in used if len(path) > 2 and path[1] == "data"}

    def render(
        self,
        name: str,
        channel: str,
        context: Mapping[str, Any],
        *,
        locale: str = "",
        timezone: str = "UTC",
        recommended: Iterable[Mapping[str, Any]] = (),
    ) -> Rendered:
        """Render a message for one person.

        Args:
            name: The template.
            channel: The channel.
            context: JSON values under the names of `ROOTS`.
            locale: The person's locale, such as `de-AT`; the nearest language of the template is used.
            timezone: The person's time zone for days and times, IANA name.
            recommended: Products for `recommend`, best first.

        Raises:
            TemplateError: There is no such template, a value is not known, or the message is too long for its channel.
        """
        languages = self._compiled.get((name, channel))
        if languages is None:
            known = ", ".join(self.channels(name))
            raise TemplateError(name, (channel,), 0, f"no such text; it has {known}" if known else "no such template")
        language = nearest(locale, languages, self._defaults[name])
        values = {
            **{key: _known(value) for key, value in context.items() if key in ROOTS and value is not None},
            "_recommended": [_known(product) for product in recommended],
            "_language": language,
            "_timezone": timezone,
        }
        if isinstance(traits := (values.get("profile") or {}).get("traits"), Mapping):
            values["profile"] = {**values["profile"], "traits": {**_in_snake_case(traits), **traits}}
        parts: dict[str, str] = {}
        for part, template in languages[language].parts.items():
            text = _rendered(template, values, name, (channel, language, part))
            if channel == "email" and (layout := self._layouts.get(part)):
                outer = layout[nearest(language, layout, next(iter(layout)))]
                content = Markup(text) if part == "html" else text
                text = _rendered(outer, {**values, "content": content}, "_layout", (part, language))
            parts[part] = " ".join(text.split()) if part in ONE_LINE else _tidy(text, channel)
        _check(name, channel, language, parts)
        return Rendered(language, **parts)

    def _compile(self, name: str, channel: str, language: str, content: Content) -> _Compiled:
        parts = {
            part: parsed
            for part, source in content.parts().items()
            if (parsed := self._parse(name, (channel, language, part), source, part, ROOTS)) is not None
        }
        used = [template.analyze() for template in parts.values()]
        roots = frozenset(root for one in used for root in one.globals)
        return _Compiled(parts, any("recommend" in one.filters for one in used), roots)

    def _parse(
        self, name: str, path: tuple[str, ...], source: str, part: str, roots: frozenset[str]
    ) -> BoundTemplate | None:
        """Parse a text; None if it has errors, which are noted."""
        environment = self._html if part == "html" else self._plain
        errors: list[tuple[int, str]] = [
            (found.start(), advice) for pattern, advice in _NOT_OFFERED for found in pattern.finditer(source)
        ]
        template = None
        try:
            template = environment.from_string(source)
            used = template.analyze()
        except LiquidError as error:
            self._errors.append(TemplateError(name, path, _line(error), _words(error), _column(error)))
        except RecursionError:
            self._errors.append(TemplateError(name, path, 0, "it is nested too deeply"))
        else:
            errors += [
                (use.span.index, unknown_root(root))
                for root, uses in used.globals.items()
                if root not in roots
                for use in uses[:1]
            ]
            errors += [
                (
                    span.index,
                    f"{filter_name}: there is no such filter{suggestion(filter_name, sorted(environment.filters))}",
                )
                for filter_name, spans in used.filters.items()
                if filter_name not in environment.filters
                for span in spans
            ]
            self.unknown_names += [_error_at(name, path, source, *found) for found in unknown_names(template)]
        self._errors += [_error_at(name, path, source, *found) for found in sorted(errors)]
        return template


def _error_at(name: str, path: tuple[str, ...], source: str, index: int, message: str) -> TemplateError:
    line, column = source.count("\n", 0, index) + 1, index - source.rfind("\n", 0, index)
    return TemplateError(name, path, line, message, column)


def nearest(locale: str, languages: Iterable[str], default: str) -> str:
    """Return the language for a locale: the locale, its language, else the default. `de_AT` and `de-at` are equal."""
    known = {language.lower(): language for language in languages}
    wanted = locale.replace("_", "-").lower()
    for candidate in (wanted, wanted.partition("-")[0]):
        if candidate in known:
            return known[candidate]
    return default


def sms_segments(text: str) -> int:
    """Count the parts that an SMS is sent in (3GPP TS 23.038 and 23.040).

    160 characters of the GSM alphabet fit in one, 153 in each of several; with any other character 70 and 67 UTF-16
    units.
    """
    if set(text) <= _GSM | _GSM_TWICE:
        size, alone, each = sum(2 if character in _GSM_TWICE else 1 for character in text), 160, 153
    else:
        size, alone, each = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if size <= alone else -(-size // each)


def _environment(*, autoescape: bool) -> Environment:
    environment = _Limited(undefined=FalsyStrictUndefined, autoescape=autoescape, strict_filters=True)
    environment.tags = {name: tag for name, tag in environment.tags.items() if name in _TAGS}
    environment.filters = {name: one for name, one in environment.filters.items() if name in _FILTERS}
    for name, function in _OWN_FILTERS.items():
        environment.add_filter(name, function)
    return environment


def _rendered(template: BoundTemplate, values: Mapping[str, Any], name: str, path: tuple[str, ...]) -> str:
    try:
        return template.render(values)
    except LiquidError as error:
        raise TemplateError(name, path, _line(error), _words(error)) from error
    except ValueError as error:
        raise TemplateError(name, path, 0, str(error)) from error
    except (ArithmeticError, TypeError, LookupError, RecursionError) as error:
        raise TemplateError(name, path, 0, f"{type(error).__name__}: {error}") from error


def _tidy(text: str, channel: str) -> str:
    """Remove empty lines after tags, and from an SMS characters that would halve its capacity."""
    if channel == "sms":
        text = text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
    return re.sub(r"\n[ \t]*\n(?:[ \t]*\n)+", "\n\n", text).strip()


def _check(name: str, channel: str, language: str, parts: Mapping[str, str]) -> None:
    form = MESSAGE_FORMATS.get(channel, DEFAULT_MESSAGE_FORMAT)
    for part in form.required:
        if not parts[part]:
            raise TemplateError(name, (channel, language, part), 0, "it is empty for this person")
    for part, longest in form.longest.items():
        if len(parts.get(part, "")) > longest:
            raise TemplateError(
                name, (channel, language, part), 0, f"{len(parts[part])} characters for this person, at most {longest}"
            )
    if channel == "sms" and (segments := sms_segments(parts["text"])) > SMS_SEGMENTS:
        raise TemplateError(name, (channel, language, "text"), 0, f"{segments} SMS, at most {SMS_SEGMENTS}")
    if (link := parts.get("link")) and not _LINK.fullmatch(link):
        raise TemplateError(name, (channel, language, "link"), 0, f"{link!r} is no address")


def _in_snake_case(traits: Mapping[str, Any]) -> dict[str, Any]:
    return {_HUMP.sub(r"_\1", name).lower(): value for name, value in traits.items()}


def _known(value: Any) -> Any:
    """Remove nulls at all levels, since a null value counts as unknown."""
    if isinstance(value, Mapping):
        return {key: _known(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value if one is not None]
    return value


def _line(error: LiquidError) -> int:
    found = error.context()
    return found[0] if found else 0


def _column(error: LiquidError) -> int:
    found = error.context()
    return found[1] + 1 if found else 0


def _words(error: LiquidError) -> str:
    said = str(error.message)
    if unknown := _UNKNOWN_TAG.search(said):
        return f"{said}{suggestion(unknown[1], sorted(_TAGS - _PARSER_TAGS))}"
    return said.replace(" is undefined", " is not known") if said.endswith(" is undefined") else said


def _money(amount: object, currency: object, *, context: RenderContext) -> str:
    return format_currency(_number(amount), str(currency), locale=_locale(context))


def _day(at: object, *, context: RenderContext) -> str:
    return format_date(_moment(at, context), "long", locale=_locale(context))


def _time_of_day(at: object, *, context: RenderContext) -> str:
    return format_time(_moment(at, context), "short", locale=_locale(context))


def _recommend(count: object, why: object = "", *, context: RenderContext) -> list[Any]:
    """Return `count` products, first those with the reason `why`."""
    products: list[Any] = context.globals["_recommended"]  # type: ignore[assignment]
    chosen = sorted(products, key=lambda product: bool(why) and product.get("why") != why)[: int(_number(count))]
    if not chosen:
        raise ValueError("there is no product to recommend to this person")
    return chosen


def _link(address: object) -> str:
    if not _WEB_ADDRESS.fullmatch(str(address)):
        raise ValueError(f"{str(address)[:100]!r} is no web address")
    return str(address)


def _plus(left: object, right: object) -> Decimal:
    return _number(left) + _number(right)


def _minus(left: object, right: object) -> Decimal:
    return _number(left) - _number(right)


def _number(value: object) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) >= 10**18:
        raise ValueError(f"{str(value)[:100]!r} is no number")
    return number


def _moment(at: object, context: RenderContext) -> datetime:
    return parse_time(str(at)).astimezone(ZoneInfo(str(context.globals["_timezone"])))


def _locale(context: RenderContext) -> Locale:
    return Locale.parse(str(context.globals["_language"]), sep="-")


_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "money": with_context(_money),
    "day": with_context(_day),
    "time_of_day": with_context(_time_of_day),
    "recommend": with_context(_recommend),
    "link": _link,
    "plus": _plus,
    "minus": _minus,
}
