from converters import page


def test_a_page_quotes_what_it_shows_and_asks_for_nothing() -> None:
    parts = [
        page.paragraph("a < b & $style"),
        page.table(["TIME\nseconds", "<i>"], [["<b>", "1"]], "Q&A"),
        page.plots([("<h>", "<svg></svg>")]),
        page.notes(["x < y"]),
    ]
    made = page.framed("One & two", *parts, style="i { color: red; }")
    assert "<title>One &amp; two</title>" in made
    assert "<h1>One &amp; two</h1>\n<p>a &lt; b &amp; $style</p>\n" in made
    assert "<h2>Q&amp;A</h2><table><thead><tr><th>TIME<br>seconds</th><th>&lt;i&gt;</th></tr></thead>" in made
    assert "<tbody><tr><td>&lt;b&gt;</td><td>1</td></tr></tbody>" in made
    assert "<figure><h2>&lt;h&gt;</h2><svg></svg></figure>" in made
    assert "<ul><li>x &lt; y</li></ul>" in made
    assert "i { color: red; }</style>" in made
    assert "prefers-color-scheme: dark" in made
    assert "<script" not in made
    assert "http" not in made
