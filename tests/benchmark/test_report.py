"""The report as HTML, and as a browser shows it."""

import base64
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from scvi_sams.benchmark._report import report
from tests.benchmark.results import simulate

VOID = {"meta", "img", "br", "wbr"}


class Page(HTMLParser):
    """Elements of a page; fails where they are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag, class_=None):
        found = [attrs for name, attrs in self.elements if name == tag]
        return [a for a in found if class_ is None or class_ in a.get("class", "").split()]


def written(results, **kwargs):
    return report(
        results.scores, results.summary, results.runs, **{"name": "Small screens"} | kwargs
    )


@pytest.fixture(scope="module")
def results():
    return simulate(n_perturbations=8)


@pytest.fixture(scope="module")
def text(results):
    return written(results, config_text="name: Small screens\nseeds: [0, 1, 2]\n")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_needs_nothing_beside_it(text, page):
    for _, attrs in page.elements:
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:image/"))
    assert not re.search(r"url\(|@import|<link|<iframe|https?://", text)


def test_all_datasets_and_models_are_in_it(results, page):
    for column in ("dataset", "split", "model"):
        for name in results.runs[column].unique():
            assert name in page.text
    anchors = {attrs["id"] for attrs in page.all("h2") if "id" in attrs}
    assert {attrs["href"].removeprefix("#") for attrs in page.all("a")} == anchors
    assert len(anchors) == 5  # subsets have sections of their own


def test_figures_say_what_they_show(results, page):
    images = page.all("img")
    # the main metrics, one of them over perturbations, and the run times
    assert len(images) == 5 * (7 + 1) + 3
    for image in images:
        assert len(image["alt"]) > 40
        drawing = base64.b64decode(image["src"].partition(",")[2]).decode()
        assert drawing.startswith("<?xml")
    assert any("SAMS-VAE" in image["alt"] and "ceiling" in image["alt"] for image in images)


def test_the_verdict_says_where_baselines_win(page):
    assert "Baselines that win: LatentAdditive" in page.text
    assert page.all("div", "verdict")[0]["class"].split()[1] == "mixed"
    wins = page.text.split("norman · doubles · unseen")[2]
    assert "the baseline LatentAdditive" in wins


@pytest.mark.parametrize("kind", ["model", "baseline"])
def test_the_verdict_is_marked_where_one_side_always_wins(kind):
    found = simulate(n_perturbations=4, seeds=(0,)).where(dataset="papalexi")
    found.summary = found.summary[found.summary["metric"] == "rmse"].copy()
    is_kind = found.summary["kind"] == kind
    found.summary.loc[is_kind, ["mean", "lower", "upper"]] -= 1
    page = Page(written(found))
    assert page.all("div", "verdict")[0]["class"].split()[1] == kind
    assert f"A {kind} wins." in page.text


def test_runs_without_scores_are_listed_with_their_reason(page):
    assert "GEARS, seed 0, 1, 2: cannot predict" in page.text
    assert "RuntimeError: the loss is NaN after epoch 12" in page.text
    assert "2 of 3 seeds" in page.text


def test_it_says_what_was_run_on_what(results, page):
    assert "seeds: [0, 1, 2]" in page.text
    assert "scvi-tools" in page.text
    assert results.runs["split_hash"].iloc[0] in page.text


def test_names_and_messages_are_escaped():
    evil = '<script>alert("x")</script>&amp;$\\alpha$'
    found = simulate(n_perturbations=4, seeds=(0,)).where(dataset="replogle")
    for table in (found.scores, found.summary, found.runs):
        table["dataset"] = evil
        table["model"] = table["model"].replace("SAMS-VAE", evil)
    found.runs["message"] = evil
    text = written(found, name=evil, config_text=evil)
    page = Page(text)
    assert text.count("<script>") == 1
    assert page.text.count(evil) > 5
    assert any(evil in image["alt"] for image in page.all("img"))


def test_it_is_the_same_for_the_same_results():
    found = simulate(n_perturbations=4, seeds=(0, 1)).where(dataset="papalexi")
    before = [table.copy() for table in (found.scores, found.summary, found.runs)]
    assert written(found) == written(found)
    for table, old in zip((found.scores, found.summary, found.runs), before, strict=True):
        pd.testing.assert_frame_equal(table, old)


def test_it_can_be_written_where_every_run_failed():
    found = simulate(n_perturbations=4, seeds=(0,)).where(dataset="papalexi")
    found.runs["status"], found.runs["message"] = "failed", None
    found.scores, found.summary = found.scores.iloc[:0], found.summary.iloc[:0]
    page = Page(written(found))
    assert "There is nothing to compare" in page.text
    assert "papalexi · random" in page.text
    assert not page.all("img")


CHECK = """
<script>
onload = () => {
  const seen = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    const table = page.querySelector("table.scores");
    const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    const before = names();
    const sort = table.querySelector("th:nth-child(2) .sort");
    sort.click();
    const once = names();
    sort.click();
    return {
      errors: frame.contentWindow.errors,
      width: page.documentElement.scrollWidth,
      images: [...page.images].every((image) => image.complete && image.naturalWidth > 0),
      before, once, twice: names(),
    };
  });
  document.body.textContent = JSON.stringify(seen);
};
</script>
"""


def test_a_browser_shows_it_without_errors_or_overflow(text, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed, so no browser can show the report")
    watch = "<head><script>errors = []; onerror = (what) => errors.push(what);</script>"
    document = html.escape(text.replace("<head>", watch, 1))
    widths = (1280, 400)
    frames = (f'<iframe width="{w}" height="900" srcdoc="{document}"></iframe>' for w in widths)
    file = tmp_path / "frames.html"
    file.write_text(f"<!doctype html><meta charset='utf-8'><body>{''.join(frames)}{CHECK}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = json.loads(html.unescape(re.search(r"<body>(.*)</body>", done.stdout, re.S)[1]))
    for width, found in zip(widths, seen, strict=True):
        assert found["errors"] == []
        assert found["width"] <= width
        assert found["images"]
        assert found["once"] == found["before"]  # best first already
        assert found["twice"] == found["before"][::-1]
