"""The pages that people come to from a message: to unsubscribe, and to say what they want. No script, no login."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from aiohttp import web

from deploy.collector.page_texts import PageTexts

_STYLE = """
:root{color-scheme:light dark}
body{font:1.05rem/1.5 system-ui,sans-serif;max-width:32rem;margin:10vh auto;padding:0 1.2rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
label{display:flex;gap:.7rem;align-items:center;padding:.45rem 0}input{width:1.2rem;height:1.2rem}
button{font:inherit;margin:1.4rem 0;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#1a56c4;color:#fff}
button:focus-visible,input:focus-visible,a:focus-visible{outline:3px solid #e8a33d;outline-offset:2px}
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


class Choice(NamedTuple):
    """One box of the preference page.

    Attributes:
        name: Its field in the form.
        label: What the person reads.
        is_on: Whether it is ticked.
    """

    name: str
    label: str
    is_on: bool


def notice(texts: PageTexts, heading: str, said: str, *, status: int = 200, onward: str = "") -> web.Response:
    """Return a page that says one thing.

    Args:
        texts: In the person's language.
        heading: Its heading.
        said: Its sentence.
        status: Of HTTP.
        onward: The address of the preference page, to which it links; empty: it does not.
    """
    link = f'<p><a href="{escape(onward)}">{escape(texts.preferences)}</a></p>' if onward else ""
    return _page(texts, heading, f'<p role="status">{escape(said)}</p>{link}', status)


def unsubscribe_page(texts: PageTexts, channel: str, onward: str) -> web.Response:
    """Return the page that asks whether somebody wants to unsubscribe: its button does it, opening it does nothing."""
    form = (
        f'<p>{escape(texts.ask.format(channel=channel))}</p><form method="post">'
        f"<button>{escape(texts.confirm)}</button></form>"
        f'<p><a href="{escape(onward)}">{escape(texts.preferences)}</a></p>'
    )
    return _page(texts, texts.unsubscribe, form)


def preference_page(texts: PageTexts, channels: Sequence[Choice], topics: Sequence[Choice]) -> web.Response:
    """Return the preference page."""
    parts = [(texts.channels, channels), (texts.topics, topics)]
    boxes = "".join(f"<h2>{escape(said)}</h2>{''.join(map(_box, some))}" for said, some in parts if some)
    return _page(texts, texts.preferences, f'<form method="post">{boxes}<button>{escape(texts.save)}</button></form>')


def _box(choice: Choice) -> str:
    # A hidden field tells that the box was there: a box that is not ticked sends nothing, and that is a no.
    ticked = " checked" if choice.is_on else ""
    name = escape(choice.name)
    return (
        f'<label><input type="hidden" name="asked" value="{name}">'
        f'<input type="checkbox" name="{name}" value="yes"{ticked}>{escape(choice.label)}</label>'
    )


def _page(texts: PageTexts, heading: str, body: str, status: int = 200) -> web.Response:
    text = (
        f'<!doctype html><html lang="{texts.language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(heading)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(heading)}</h1>{body}</main></body></html>"
    )
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)
