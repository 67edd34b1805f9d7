"""A parsed HTML document, to look things up in."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Node:
    """An element: its tag, its attributes, and its children, which are nodes and texts."""

    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, attributes, []

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag, **attributes):
        """Descendants of this tag whose attributes have these values (a class among others is enough)."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag and all(child.has(name.rstrip("_"), value) for name, value in attributes.items()):
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def has(self, name, value):
        actual = self.attributes.get(name) or ""
        return value in actual.split() if name == "class" else value == actual

    def one(self, tag, **attributes):
        (node,) = self.all(tag, **attributes)
        return node

    def table(self):
        """The texts of a table's rows, cell by cell."""
        rows = [[c for c in row.children if isinstance(c, Node) and c.tag in ("td", "th")] for row in self.all("tr")]
        return [[cell.text for cell in row] for row in rows]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Node("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"<{self.open[-1].tag}> is closed by </{tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parse(text):
    """The document's root. Fails where an element is not closed, or closed by another's end tag."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == [parser.root]
    return parser.root
