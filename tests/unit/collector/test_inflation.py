"""Bodies are inflated for every Content-Encoding that clients send, and one that is not whole is refused as that."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.collector.inflation import MAX_MEMBERS, PIECE_BYTES, Inflater, inflated
from deploy.collector.refusal import RefusedError

TEXT = b'{"batch": [' + b"1," * 100_000 + b"1]}"


def raw_deflate(text: bytes) -> bytes:
    """Pack as the clients do that take `deflate` for the bare method."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


def refused(raw: bytes, encoding: str, max_bytes: int = 1 << 20) -> tuple[int, str, str]:
    """The refusal of a body."""
    with pytest.raises(RefusedError) as caught:
        inflated(raw, encoding, max_bytes)
    return caught.value.status, caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        pytest.param("gzip", gzip.compress(TEXT), id="gzip"),
        pytest.param("x-gzip", gzip.compress(TEXT), id="its name of old"),
        pytest.param(" GZip ", gzip.compress(TEXT), id="in whichever case"),
        pytest.param("gzip", gzip.compress(TEXT[:5]) + gzip.compress(TEXT[5:]), id="gzip in two parts"),
        pytest.param("deflate", zlib.compress(TEXT), id="deflate in the form of zlib"),
        pytest.param("deflate", raw_deflate(TEXT), id="deflate without it"),
        pytest.param("identity", TEXT, id="identity"),
        pytest.param("utf-8", TEXT, id="a word that is no coding"),
        pytest.param("gzip, utf-8", gzip.compress(TEXT), id="a coding beside such a word"),
        pytest.param("", TEXT, id="none"),
    ],
)
def test_the_text_is_the_same_however_it_is_packed(encoding: str, raw: bytes) -> None:
    assert inflated(raw, encoding, len(TEXT)) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", ""])
def test_no_body_is_an_empty_text_whatever_its_encoding(encoding: str) -> None:
    assert b"" == inflated(b"", encoding, 10)


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        pytest.param("gzip", gzip.compress(TEXT)[:-100], id="in the middle"),
        pytest.param("x-gzip", gzip.compress(TEXT)[:-4], id="in the checksum"),
        pytest.param("gzip", gzip.compress(b"{}")[:5], id="in the head"),
        pytest.param("gzip", gzip.compress(b"{}") + gzip.compress(b"{}")[:12], id="in its second part"),
        pytest.param("deflate", zlib.compress(TEXT)[:-2], id="deflate"),
    ],
)
def test_a_body_that_breaks_off_is_refused_and_told_so(encoding: str, raw: bytes) -> None:
    message = f"The {encoding} body breaks off before its end: send the whole of it again."

    assert (400, "cut_off", message) == refused(raw, encoding)


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        pytest.param("gzip", b'{"batch": []}', id="not packed at all"),
        pytest.param("gzip", zlib.compress(b"{}"), id="packed in another way"),
        pytest.param("gzip", gzip.compress(b"{}") + b"more", id="followed by something else"),
        pytest.param("gzip", gzip.compress(b"{}")[:-8] + bytes(8), id="with another checksum"),
        pytest.param("deflate", b"\xff\xff\xff\xff", id="no deflate"),
    ],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(encoding: str, raw: bytes) -> None:
    assert (400, "unreadable") == refused(raw, encoding)[:2]


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_a_coding_that_is_not_inflated_is_named(encoding: str) -> None:
    message = f"The Content-Encoding {encoding} is not inflated here: send gzip, deflate or none."

    assert (415, "content_encoding", message) == refused(b"x", encoding)


def test_a_body_is_not_inflated_beyond_its_limit() -> None:
    assert (413, "too_large") == refused(gzip.compress(bytes(50_000_000)), "gzip")[:2]


def test_a_body_of_very_many_parts_is_refused() -> None:
    assert (413, "too_many_parts") == refused(gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip")[:2]


@given(
    text=st.binary(max_size=200) | st.integers(0, 3 * PIECE_BYTES).map(bytes),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    encoding=st.sampled_from(["gzip", "deflate"]),
)
def test_it_does_not_matter_in_which_parts_a_body_comes(text: bytes, cuts: list[int], encoding: str) -> None:
    raw = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    places = [0, *sorted(cuts), len(raw)]
    inflater = Inflater(encoding)
    pieces = [piece for start, end in pairwise(places) for piece in inflater.pieces(raw[start : max(start, end)])]
    inflater.finish()

    assert text == b"".join(pieces)
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)
