"""Build the site with warnings as errors, and check what came out.

``python docs/check.py`` fails if a warning is given, if a link, anchor or image inside the site
leads nowhere, or, where a Chromium is found, if a page is wider than a wide or a narrow screen.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).parent
SITE = DOCS / "_build" / "html"
WIDTHS = (1280, 400)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# loads one page after the other; in a frame, since windows of browsers have a least width
FRAME = """<!doctype html>
<iframe id=f style="border:0;width:{width}px;height:900px"></iframe>
<script>
(async () => {{
  const wide = [];
  for (const page of {pages}) {{
    await new Promise(loaded => {{ f.onload = loaded; f.src = page; }});
    await new Promise(settled => setTimeout(settled, 100));
    if (f.contentDocument.documentElement.scrollWidth > {width}) wide.push(page);
  }}
  document.title = JSON.stringify(wide);
}})();
</script>"""


class Page(HTMLParser):
    """Anchors of a page, and what it points to."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.targets = {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Take ids, names, links and sources."""
        given = dict(attributes)
        self.anchors |= {given.get("id"), given.get("name")}
        self.targets += [given[key] for key in ("href", "src") if given.get(key)]


def build():
    """Run Sphinx on a clean folder."""
    for made in (SITE, DOCS / "api" / "generated"):
        shutil.rmtree(made, ignore_errors=True)
    sphinx = ["-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-b", "html"]
    # deprecations among its extensions, which Sphinx shows unless Python was told not to
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *sphinx, str(DOCS), str(SITE)]
    return subprocess.run(command, env=quiet).returncode == 0


def html_pages():
    """Paths of the pages, without those that are parts of the theme."""
    return [path for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts]


def raw_markup():
    """Pages of the API where markup was not read."""
    for path in (SITE / "api" / "generated").glob("*.html"):
        if "``" in re.sub(
            r"<(pre|script).*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.S
        ):
            yield path.name


def broken_links():
    """Links, anchors and images inside the site that lead nowhere."""
    pages = {path: Page(path) for path in html_pages()}
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            to = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchors = pages[to].anchors if to in pages else [url.fragment]
            if not to.exists() or unquote(url.fragment) not in anchors:
                yield f"{path.relative_to(SITE)}: {target}"


def wide_pages(browser, width):
    """Pages that a screen of some width in pixels does not hold."""
    pages = [str(path.relative_to(SITE)) for path in html_pages()]
    frame = SITE / "frame.html"
    frame.write_text(FRAME.format(width=width, pages=json.dumps(pages)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    options += ["--virtual-time-budget=600000", "--window-size=1400,1000", "--dump-dom"]
    command = [browser, *options, frame.as_uri()]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    frame.unlink()
    return json.loads(unescape(said.split("<title>")[1].split("</title>")[0]))


def main():
    """Exit status: 1 if anything is wrong."""
    if not build():
        return "Sphinx gave warnings."
    broken = sorted(set(broken_links()))
    if broken:
        return "\n".join(["Links that lead nowhere:", *broken])
    raw = sorted(raw_markup())
    if raw:
        return "\n".join(["Pages with markup that was not read:", *raw])
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    for width in WIDTHS if browser else ():
        wide = wide_pages(browser, width)
        if wide:
            return "\n".join([f"Pages wider than {width} pixels:", *wide])
    print(f"The site in {SITE} is fine" + ("." if browser else "; no browser, no look at it."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
