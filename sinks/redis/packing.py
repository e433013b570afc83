r"""Documents and states of profiles as Redis keeps them: a small one is deflated, since most visitors come once.

What begins with `{` is JSON as it is; `\x01` goes before what is deflated with the first dictionary. A dictionary is
text that profiles have in common, the most common last; it is never edited: another one gets the next number. A large
profile is of a person who comes often: to deflate it at each event would cost more time than its memory is worth.
"""

from __future__ import annotations

import zlib

PACKED_BYTES = 1_024
"""The longest JSON that is deflated."""
_MARK = b"\x01"
_WINDOW, _LEVEL, _MEMORY = -12, 1, 4  # 4 kB and no header: measured to be the quickest that finds nearly everything
_DICTIONARY = (
    b'"carts":{"currency":"EUR","items":{"price":"products":{"quantity":1,"value":"orders":{"total":"searches":{'
    b'"stores":{"bots":{"email":{"phone":{"user_id":{"addresses":{"traits":{"consent":{"marketing":{"name":["first_name":["'
    b'"Order Completed":[1,"Product Added":[1,"Cart Viewed":[1,"Checkout Started":[1,"Signed In":[1,"Signed Up":[1,'
    b'"Product List Viewed":[1,"Products Searched":[1,"Product Viewed":[1,"Email Opened":[1,"Email Link Clicked":[1,'
    b'"retail":[1,"mobile":[1,"app":[1,"sms":[1,"whatsapp":[1,"email":[1,"viewed":{"product_id":"brand":"category":"url":"'
    b'"features":{"journeys":{"past":{"runs":{"entered":{"heard":{"caps":{"until":"segments":{"addresses":0,"at":179'
    b',"changes":1,"due":{"engaged_web":179"inactive":179,"inactive":180},"in":{"engaged_web":179,"visitors":179},"of":"'
    b'"city":["country":["DE","device":["desktop","mobile","tablet","os":["iOS","Windows","Android","macOS",'
    b'"utm_content":"term":"meta":"facebook","newsletter","organic","paid_social","email","social",'
    b'{"channels":{"web":[1,179,179,"Page Viewed"]},"event_count":1,"events":{"Page Viewed":[1,179,179]},'
    b'"first_seen":179,"first_touch":{"at":179,"campaign":{"medium":"cpc","name":"source":"google"},"channel":"web"},'
    b'"known":{"locale":["en-US","de-DE","fr-FR",179],"timezone":["America/","Europe/Paris","Europe/Berlin",179]},'
    b'"last_seen":179,"last_touch":{"at":179,"campaign":{"medium":"cpc","name":"source":"google"},"channel":"web"},'
    b'"profile_id":"'
)
_DEFLATER = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)


def pack(json: bytes) -> bytes:
    """Return JSON as it is stored; what is no JSON object, such as what `unpack` could not read, stays as it is."""
    if len(json) > PACKED_BYTES or json[:1] != b"{":
        return json
    deflater = _DEFLATER.copy()
    return _MARK + deflater.compress(json) + deflater.flush()


def unpack(stored: bytes) -> bytes:
    """Return JSON from what is stored; what cannot be inflated as it is: whoever reads it refuses it."""
    if stored[:1] != _MARK:
        return stored
    try:
        inflater = zlib.decompressobj(_WINDOW, _DICTIONARY)
        json = inflater.decompress(memoryview(stored)[1:])
    except zlib.error:
        return stored
    return json if inflater.eof else stored


def unpack_if_any(stored: bytes | None) -> bytes | None:
    """Return JSON from what is stored; None: nothing is."""
    return unpack(stored) if stored else stored
