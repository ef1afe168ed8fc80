"""txt, md and html: a file is a record, its relative path the key."""

from __future__ import annotations

import pytest

from tasks.ingest.page_text import html_text


def test_documents_of_a_folder(tmp_path, ingest):
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "a.txt").write_bytes(b"\xef\xbb\xbfplain\r\ntext\n")
    (tmp_path / "docs" / "deep" / "b.md").write_text("# Title\n\nBody\n")
    (tmp_path / "docs" / "c.html").write_text("<h1>Title</h1><p>Body</p>")
    found = ingest(tmp_path / "docs")
    assert found.records("row", "key", "text", "size", "uri") == [
        (0, "a.txt", "plain\ntext\n", 11, str(tmp_path / "docs" / "a.txt")),
        (1, "c.html", "Title\n\nBody", 11, str(tmp_path / "docs" / "c.html")),
        (2, "deep/b.md", "# Title\n\nBody\n", 14, str(tmp_path / "docs" / "deep" / "b.md")),
    ]


@pytest.mark.parametrize(
    ("name", "data", "reason", "detail"),
    [
        ("a.txt", b"", "empty-text", "null, empty or blank"),
        ("a.md", b" \n\t", "empty-text", "null, empty or blank"),
        ("a.html", b"<script>x()</script>", "empty-text", "null, empty or blank"),
        ("a.txt", b"one\ncaf\xe9", "not-utf8", "line 2: 'one\\ncaf\\\\xe9'"),
        ("a.md", "täxt".encode("utf-16"), "not-utf8", "UTF-16; expected UTF-8"),
        ("a.txt", b"a\0b", "nul-byte", "NUL"),
        ("a.txt", b"half \xed\xa0\xbd", "lone-surrogate", "line 1"),
        ("a.txt", b"x" * 5000, "text-too-long", "longer than 4000 bytes"),
        ("a.pdf", b"%PDF-1.7", "unsupported-format", "no text reader knows this kind"),
        ("no_ending", b"text", "unsupported-format", "no text reader knows this kind"),
    ],
)
def test_each_reason(tmp_path, ingest, monkeypatch, name, data, reason, detail):
    monkeypatch.setattr("tasks.ingest.documents.MAX_FILE_BYTES", 4000)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(data)
    (tmp_path / "d" / "good.txt").write_text("good")
    found = ingest(tmp_path / "d")
    assert found.records() == [("good.txt", "good")]
    assert found.rejects() == [(name, reason, None)]
    assert detail in found.details()[0]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("---\ntitle: A\ntags: [x]\n---\n# A\n", "# A\n"),
        ("---\r\ntitle: A\r\n---\r\nBody", "Body"),
        ("---\nonly a rule\n---\nBody", "---\nonly a rule\n---\nBody"),
        ("---\n[: broken\n---\nBody", "---\n[: broken\n---\nBody"),
        ("Body\n---\na: b\n---\n", "Body\n---\na: b\n---\n"),
        ("---\ndate: 2024-02-31\n---\nBody", "Body"),  # a date that is none
        ("---\n!!python/name:os.system\n---\nBody", "---\n!!python/name:os.system\n---\nBody"),
        ("---\n? {a: b}\n: c\n---\nBody", "Body"),
        (f"---\na: {'[' * 2000}\n---\nBody", f"---\na: {'[' * 2000}\n---\nBody"),
        (f"---\na: {'x' * 70_000}\n---\nBody", f"---\na: {'x' * 70_000}\n---\nBody"),
    ],
    ids=lambda text: text[:20],
)
def test_front_matter_is_no_text(tmp_path, ingest, source, text):
    (tmp_path / "a.md").write_bytes(source.encode())
    assert ingest(tmp_path / "a.md").records() == [("a.md", text)]


def test_a_page_as_a_reader_sees_it(tmp_path, ingest):
    (tmp_path / "page.html").write_text(
        """<!DOCTYPE html><html><head><title>Not on the page</title>
        <style>p {color: red}</style></head><body><!-- nor this -->
        <h1>The
          title</h1>
        <p>A <b>bold</b> word,<br>a new line &amp; an entity.</p>
        <ul><li>one</li><li>two <i>and</i> a half</li></ul>
        <pre>def f():
    return 1</pre>
        <table><tr><th>a</th><td>1</td></tr><tr><th>b</th><td>2</td></tr></table>
        <div hidden>secret</div><p style="display: none">secret</p><script>secret()</script>
        <div>last</div></body></html>"""
    )
    assert ingest(tmp_path / "page.html").records("text") == [
        (
            "The title\n\nA bold word,\na new line & an entity.\n\none\ntwo and a half\n\n"
            "def f():\n    return 1\n\na 1\nb 2\n\nlast",
        )
    ]


def test_a_page_nested_deeper_than_python_recurses(tmp_path, ingest):
    (tmp_path / "deep.html").write_text("<div>" * 5000 + "down here" + "</div>" * 5000)
    assert ingest(tmp_path / "deep.html").records("text") == [("down here",)]


def test_a_forgotten_end_of_the_head_hides_nothing(tmp_path, ingest):
    (tmp_path / "a.html").write_text("<head><title>t</title><body><p>seen")
    assert ingest(tmp_path / "a.html").records("text") == [("seen",)]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<![if gte mso 9]><p>Seen</p><![endif]>", "Seen"),
        ("<![foo bar>Seen", "Seen"),
        ("<!DOCTYPE html [<!ELEMENT p ANY>]><p>Seen", "]>\n\nSeen"),
        ("<![CDATA[a < b]]> c", "a < b c"),
        ("<script>if (a<![b]) c</script>Seen", "Seen"),
        ('<a href="forgotten>a</a><p>Seen</p><script>no</script>end', "a\n\nSeen\n\nend"),
        ("<div><p hidden>no</div>Seen</p>", "Seen"),
        ("Seen<!-- no", "Seen"),
        ("a < b &lt; c &amp", "a < b < c &"),
    ],
)
def test_no_page_is_refused(source, text):
    assert html_text(source) == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["<a ", "<a b='", "<!--", "</", "<![CDATA[", "<b>", "<a<", "&#"])
def test_a_hostile_page_takes_no_longer_than_its_length(unit):
    html_text(unit * (1_000_000 // len(unit)))  # a second; a parser that looks back takes hours


def test_documents_beside_tables_are_rejects(tmp_path, ingest):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "README.md").write_text("about the data")
    (tmp_path / "d" / "data.csv").write_text("id,body\n1,a\n")
    found = ingest(tmp_path / "d", key="id", text="body")
    assert found.records() == [("1", "a")]
    assert found.rejects() == [("README.md", "missing-column", None)]
    assert found.details() == ["a document has no columns, and the source names some"]
