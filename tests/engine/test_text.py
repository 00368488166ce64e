"""What is shown is final: whole characters, and nothing of a stop string."""

from hypothesis import given
from hypothesis import strategies as st

from server.engine.text import TextStream

TEXTS = st.text(alphabet="abc é日🎈\n", max_size=40)


@given(TEXTS, st.lists(st.integers(1, 5)), st.lists(st.text(alphabet="abc é日", min_size=1, max_size=4), max_size=3))
def test_pieces_make_the_whole_up_to_the_stop(text: str, cuts: list[int], stops: list[str]) -> None:
    raw, stream, shown = text.encode(), TextStream(tuple(stops)), ""
    while raw and not stream.stopped:
        size = cuts.pop() if cuts else 3
        shown += stream.push(raw[:size])
        raw = raw[size:]
        assert text.startswith(shown)
    shown += stream.flush()
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    if stream.stopped:
        assert any(text.startswith(stop, len(shown)) for stop in stops)
        assert not any(stop in shown for stop in stops)
    else:
        assert shown == text
        assert not ends


def test_a_possible_stop_is_held_back_and_given_back() -> None:
    stream = TextStream(("END",))
    assert stream.push(b"the EN") == "the "
    assert stream.push(b"TRY") == "ENTRY"
    assert stream.push(b" EN") == " "
    assert stream.push(b"D and more") == ""
    assert stream.stopped
    assert stream.flush() == ""


def test_half_a_character_waits_and_broken_bytes_become_a_sign() -> None:
    stream = TextStream()
    assert stream.push("é".encode()[:1]) == ""
    assert stream.push("é".encode()[1:]) == "é"
    assert stream.push(b"\xff") == "\ufffd"
    assert stream.push("日".encode()[:2]) == ""
    assert stream.flush() == "\ufffd"
