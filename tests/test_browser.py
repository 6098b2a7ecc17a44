"""The page of a report in a real browser, offline: it is drawn, fits a phone, is readable by day and by night.

On Debian `apt-get install -y --no-install-recommends chromium` gives a browser; ORDERLY_CHROMIUM names another one.
"""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.image import imread

from ablation.results import Mask
from report.write import write
from report_example import example, pictures, poisoned

NAMES = ("chromium", "chromium-browser", "google-chrome")
DARK, LIGHT = 0, 1  # as Blink numbers them
POISON = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'><svg onload='window.hacked=1'>"
    + ("\u202e\x00猫|" + "Wortverbindung" * 6)
)

# Put first in the page, so that it hears of every error; it tells its parent what it sees.
PROBE = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || "a resource"), true);
console.error = console.warn = (...what) => errors.push(what.join(" "));
addEventListener("load", () => {
  const box = one => one.getBoundingClientRect(), width = document.documentElement.clientWidth;
  const all = [...document.body.querySelectorAll("*")];
  const free = all.filter(one => !one.closest(".scroll") && box(one).width);
  const color = one => getComputedStyle(one).color;
  parent.postMessage(JSON.stringify({
    errors, width, hacked: window.hacked || 0,
    scroll: document.documentElement.scrollWidth,
    beyond: free.filter(one => box(one).right > width + 0.5).map(one => `${one.tagName} ${one.textContent}`),
    boxes: all.filter(one => one.matches("svg")).map(one => [box(one).width, box(one).height]),
    badges: all.filter(one => one.matches(".badge") && box(one).height).map(one => [one.textContent, color(one)]),
    headings: all.filter(one => one.matches("h2")).map(one => one.textContent),
    resources: performance.getEntriesByType("resource").map(one => one.name),
    paper: getComputedStyle(document.body).backgroundColor, ink: color(document.body),
    text: [...new Set([...document.querySelectorAll("svg text")].map(one => getComputedStyle(one).fill))],
    lost: all.filter(one => one.matches("use") && !document.querySelector(one.getAttribute("href"))).length,
    wide: all.filter(one => one.matches(".scroll") && one.scrollWidth > one.clientWidth).length,
  }), "*");
});
</script>"""

FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><body style="margin: 0">
<iframe src="copy.html" style="width: {width}px; height: 800px; border: 0"></iframe><pre></pre>
<script>addEventListener("message", event => document.querySelector("pre").textContent = event.data)</script>"""


@pytest.fixture(scope="module")
def browser():
    """The path of a Chromium; tests are skipped without one."""
    named = os.environ.get("ORDERLY_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed, and ORDERLY_CHROMIUM names none")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write(example(), folder, pictures())
    return folder / "report.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Long words, and text that would run if it could; masks of as many tokens as fit no phone."""
    folder, results = tmp_path_factory.mktemp("hostile"), poisoned(example(), POISON)
    long = dataclasses.replace(results.masks[1], **vars(wide_mask()))
    given = {name + POISON: svg for name, svg in pictures().items()}
    write(dataclasses.replace(results, masks=(long,), curves=(), tuning=()), folder, given)
    return folder / "report.html"


def wide_mask():
    return Mask("GPT", tuple(f"token{i}" for i in range(48)), np.tril(np.ones((48, 48), bool)), None, ((3, "token4"),))


def run(browser, folder, page, *options):
    """What a browser without a network prints of a page, and what it logs."""
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
               "--disable-background-networking", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
               "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000",
               f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def measured(browser, page, folder, width, scheme):
    """What the probe finds in a copy of the page, in a frame of so many pixels: a window has no less than 500."""
    source = page.read_text(encoding="utf-8")
    # The policy would stop the probe; without it, so much the more could what data brings along act.
    bare = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    assert bare != source
    folder.mkdir(exist_ok=True)
    (folder / "copy.html").write_text(bare.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    options = [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={max(width, 500)},800"]
    dom, _ = run(browser, folder, folder / "frame.html", "--dump-dom", *options)
    (found,) = re.findall("<pre>(.*?)</pre>", dom, re.DOTALL)
    return json.loads(html.unescape(found))


def luminance(color):
    """Relative luminance of a CSS color (WCAG 2.1)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_drawn_and_fits(browser, report, tmp_path, width, scheme):
    found = measured(browser, report, tmp_path, width, scheme)
    assert found["width"] == width
    assert found["errors"] == [] and found["resources"] == [] and found["lost"] == 0
    assert found["headings"][0] == "Verdicts"
    assert [text for text, _ in found["badges"]] == [
        "✓ PASS", "✗ FAIL", "? INCONCLUSIVE", "✓ PASS", "– NO VERDICT"
    ]  # fmt: skip
    assert found["scroll"] <= width and found["beyond"] == []
    assert len(found["boxes"]) == 8
    assert all(wide > 100 and high > 100 for wide, high in found["boxes"])
    if width == 360:
        assert found["wide"] > 10  # tables scroll in boxes of their own


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable_on_the_paper(browser, report, tmp_path, scheme):
    """A contrast of at least 7 for text and 4.5 for badges, words of figures included (WCAG 2.1)."""
    found = measured(browser, report, tmp_path, 1200, scheme)
    assert (luminance(found["paper"]) > 0.5) == (scheme == LIGHT)
    assert contrast(found["paper"], found["ink"]) >= 7
    assert found["text"] == [found["ink"]]
    for text, color in found["badges"]:
        assert contrast(found["paper"], color) >= 4.5, text


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_page_as_it_is_needs_nothing_and_complains_of_nothing(browser, report, tmp_path, scheme):
    picture = tmp_path / "shot.png"
    options = [f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1000,4000"]
    _, log = run(browser, tmp_path, report, f"--screenshot={picture}", *options)
    assert "CONSOLE" not in log
    pixels = imread(picture)[..., :3]
    assert pixels.shape[:2] == (4000, 1000)
    assert (pixels.mean() > 0.8) if scheme == LIGHT else (pixels.mean() < 0.2)
    assert pixels.std() > 0.02


def test_nothing_that_data_holds_runs_or_breaks_the_page(browser, hostile, tmp_path):
    found = measured(browser, hostile, tmp_path, 360, LIGHT)
    assert found["hacked"] == 0
    assert found["errors"] == [] and found["resources"] == []
    assert found["scroll"] <= 360 and found["beyond"] == []


def test_the_probe_sees_what_it_looks_for(browser, report, tmp_path):
    """Each of the faults above, put into a copy of the page."""
    faulty = tmp_path / "faulty.html"
    image = "http://127.0.0.1:9/image.png"  # nobody answers
    faults = f'<div style="width: 900px">far</div><img src="{image}"><script>window.hacked = 1; nothing()</script>'
    faulty.write_text(report.read_text(encoding="utf-8").replace("<main>", f"<main>{faults}"), encoding="utf-8")
    found = measured(browser, faulty, tmp_path / "copy", 360, LIGHT)
    assert found["hacked"] == 1 and len(found["errors"]) == 2
    assert found["resources"] == [image]
    assert found["scroll"] >= 900 and any(one.startswith("DIV far") for one in found["beyond"])


def test_the_policy_alone_would_stop_a_script(browser, report, tmp_path):
    """With its policy the same page runs nothing, even where escaping failed."""
    faulty = tmp_path / "faulty.html"
    fault = '<script>document.title = "hacked"</script><img src="x.png">'
    faulty.write_text(report.read_text(encoding="utf-8").replace("<main>", f"<main>{fault}"), encoding="utf-8")
    dom, log = run(browser, tmp_path, faulty, "--dump-dom")
    assert "<title>hacked" not in dom and "Content Security Policy" in log
