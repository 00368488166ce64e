import time
from collections import Counter

import pytest

from scripts.data.personal import iban, luhn, redacted, scanned
from scripts.examples import Example, Turn


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.lee+x@mail.example.org, please.", "Write to [EMAIL], please."),
        ("Call +49 30 1234567 now", "Call [PHONE] now"),
        ("Call 0049 (30) 12 34 56-7.", "Call [PHONE]."),
        ("Call (555) 234-5678 or 030 1234567.", "Call [PHONE] or [PHONE]."),
        ("Pay to DE89 3704 0044 0532 0130 00 by Friday", "Pay to [IBAN] by Friday"),
        ("PAY DE89 3704 0044 0532 0130 00 BY FRIDAY", "PAY [IBAN] BY FRIDAY"),
        ("Pay to GB82WEST12345698765432.", "Pay to [IBAN]."),
        ("Card 4111 1111 1111 1111, thanks", "Card [CARD], thanks"),
        ("From 192.168.10.7 to 2001:db8::7.", "From [IP] to [IP]."),
        ("key sk-proj-abcdefghijklmnopqrstuvwx1234 leaked", "key [KEY] leaked"),
        ("AKIAIOSFODNN7EXAMPLE", "[KEY]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end", "[KEY] end"),
    ],
)
def test_personal_data_is_found(text: str, expected: str) -> None:
    found: Counter[str] = Counter()
    assert redacted(text, found) == expected
    assert sum(found.values()) == expected.count("[")


@pytest.mark.parametrize(
    "text",
    [
        "Pay to DE88 3704 0044 0532 0130 00",  # the checksum is wrong
        "Card 4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "Version 1.2.3.4.5 of 2024-11-25, 12:30:05",
        "300.1.2.3 is no address, ::1 and 127.0.0.1 are nobody's",
        "In 1984 there were 12,345,678 of 3.14159265 and 100 200",
        "set the lamp to 40 percent @home",
        "sk-short and AKIA",
    ],
)
def test_numbers_that_are_no_personal_data_stay(text: str) -> None:
    found: Counter[str] = Counter()
    assert redacted(text, found) == text
    assert not found


def test_checksums() -> None:
    assert not luhn("5500-0000-0000-0005")
    assert luhn("5500-0000-0000-0004")
    assert iban("FR14 2004 1010 0505 0001 3M02 606")
    assert not iban("FR14 2004 1010 0505 0001 3M02 607")


def test_an_example_is_counted_always_and_redacted_when_asked() -> None:
    turns = (Turn("user", "I am a@b.org"), Turn("assistant", "Hello a@b.org"))
    example = Example(turns, meta={"from": ["c@d.org"], "n": 1})
    kept, found = scanned(example, redact=False)
    assert kept is example
    assert found == {"email": 3}
    gone, found = scanned(example, redact=True)
    assert [turn.content for turn in gone.messages] == ["I am [EMAIL]", "Hello [EMAIL]"]
    assert gone.meta == {"from": ["[EMAIL]"], "n": 1}


@pytest.mark.parametrize(
    "unit",
    [
        "-----BEGIN PRIVATE KEY-----\n",
        "sk-",
        "sk-abc-",
        "-eyJ-",
        "xoxb-aaaaa-",
        "a@a.",
        "a.",
        "a:",
        "1.",
        "+1 ",
        "0/0-",
    ],
)
def test_a_long_line_takes_no_longer_than_its_length(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * size)[:size] + " 1@"
        began = time.process_time()
        redacted(text, Counter())
        return time.process_time() - began

    assert seconds(400_000) < 4 * max(seconds(200_000), 0.2)
