"""Check a page as a browser without a network would: well-formed, and nothing to load."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"img", "meta", "link", "br", "hr", "input"}
LOADED = ("src", "href", "srcset", "action", "data", "poster", "background")


class Checker(HTMLParser):
    """Collects the text, and fails at a tag that is not closed, an id that is there twice, or something to load."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert tag not in ("script", "link", "object", "embed", "base"), tag
        assert not [name for name in given if name.startswith("on")], given
        for name in LOADED:
            assert given.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, given)
        self.ids += [given["id"]] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data):
        self.words.append(data)


def read_page(path: Path) -> str:
    """Check the page of a file, and return its text."""
    return page_text(path.read_text(encoding="utf-8"))


def page_text(html: str) -> str:
    """Check a page, and return its text."""
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == [] and len(set(checker.ids)) == len(checker.ids)
    assert html.startswith("<!doctype html>") and "url(" not in html and "@import" not in html
    return "".join(checker.words)
