"""Words validation errors: the rule that a value breaks, in the same words for events and for definitions.

`processors/intake/decode.py` adds the field, the value and what to do; `deploy/operations/definition_errors.py` adds
the line and the YAML spelling of the value.
"""

from __future__ import annotations

_EXPECTED = {
    "string_type": "a text",
    "string_unicode": "valid Unicode",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "invalid_key": "a text",
}
"""By type of pydantic's errors; pydantic's own messages name types of Python."""

_PREFIXES = ("Value error, ", "Assertion failed, ")
_SUBJECTS = ("Input should", "String should", "List should", "Tuple should")


def broken_rule(kind: str, message: str) -> str:
    """Return the rule that a value breaks, as a text.

    Args:
        kind: The error's type, such as `string_type`.
        message: Its message.

    Returns:
        `should be a text`; of a rule of our own, its own words.
    """
    if kind in _EXPECTED:
        return f"should be {_EXPECTED[kind]}"
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    for subject in _SUBJECTS:
        if message.startswith(subject):
            return f"should{message.removeprefix(subject).replace(' after validation', '')}"
    return message
