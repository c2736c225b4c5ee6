"""HTML from Python; text and attributes are escaped wherever they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, tostring

if TYPE_CHECKING:
    from scvi_sams.benchmark._drawings import Drawing


def element(tag: str, *children: Element | str | None, **attributes: str | None) -> Element:
    """Make an element of text and other elements, in their order.

    ``class_`` is the attribute class, and ``data_value`` is data-value; what is None is left out.
    """
    made = Element(
        tag,
        {
            key.rstrip("_").replace("_", "-"): value
            for key, value in attributes.items()
            if value is not None
        },
    )
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child and len(made):
            made[-1].tail = (made[-1].tail or "") + child
        elif child:
            made.text = (made.text or "") + child
    return made


def scrolling(table: Element, label: str) -> Element:
    """A table that scrolls by itself where it is too wide, also by keyboard."""
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def plain_table(head: Iterable[Element | str], body: Iterable[Iterable[Element | str]]) -> Element:
    """Table with a head, whose first cells name the rows."""
    return element(
        "table",
        element("thead", element("tr", *(element("th", text, scope="col") for text in head))),
        element("tbody", *(_row(cells) for cells in body)),
    )


def row_head(content: Element | str) -> Element:
    """First cell of a row, which stays in sight when the others scroll."""
    return element("th", element("span", content, class_="name"), scope="row")


def breakable(name: str) -> Element:
    """Name of a metric, which may break after its underscores."""
    first, *parts = name.split("_")
    breaks = [part for word in parts for part in ("_", element("wbr"), word)]
    return element("span", first, *breaks)


def _row(cells: Iterable[Element | str]) -> Element:
    first, *others = cells
    return element("tr", row_head(first), *(element("td", cell) for cell in others))


def folded(summary: str, *content: Element) -> Element:
    """Content that opens on a click."""
    return element("details", element("summary", summary), *content)


def figures(drawings: Iterable[Drawing]) -> Element:
    """Figures side by side, as many as there is room for."""
    images = (element("img", src=one.uri, alt=one.alt) for one in drawings)
    return element("div", *(element("figure", image) for image in images), class_="figures")


def page(title: str, *body: Element, style: str, script: str) -> str:
    """Whole document; ``style`` and ``script`` go in as they are."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", style),
    )
    document = element("html", head, element("body", *body, element("script", script)), lang="en")
    return "<!doctype html>\n" + tostring(document, encoding="unicode", method="html") + "\n"
