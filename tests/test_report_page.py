"""The report of an ablation: data cannot act on it, both forms say the same, and it is whole or not there."""

import contextlib
import dataclasses
import itertools
import math
import os
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.patches import PathPatch

from ablation.results import Effect, Interval, Mask, Ranking, Shown
from batch import InputError
from evaluation.figures import COLORS, GRAY
from report import curves, effects, markdown, masks, shown, yardsticks
from report.amounts import interval, number, probability
from report.characters import label, visible, width
from report.document import Document, Paragraph, Section, Table, pieces
from report.svg import inline
from report.write import document, write
from report_example import NAMES, everything_but, example, pictures, poisoned

NAN = math.nan
POISON = (
    "</script></svg><img src=x onerror=alert(1)>|a|[b](http://evil.example)![c](x)`d`**e** _f_ ~~g~~ <u@evil.example>"
    "\n\n# h\r\t\x00\x1b\x85\u202e\u2028\ufeff\ud800 猫 &lt; &amp; $x$"
    " https://evil.example www.evil.example \\ \\u{41} \"'+"
)
VOID = {"meta", "img", "br", "hr"}


class Parsed(HTMLParser):
    """The tags of a page in order, the text of its leaves, and whether every tag that opens is closed in turn."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, list[str]]] = []  # a tag, and the pieces of text within it
        self.within: list[int] = []
        self.declarations: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), attrs
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.append((tag, []))
            self.within.append(len(self.texts) - 1)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()
        self.within.pop()

    def handle_data(self, data):
        for i in self.within:
            self.texts[i][1].append(data)

    def handle_decl(self, decl):
        self.declarations.append(decl)

    def of(self, *tags):
        """The texts of some tags in order, without the whitespace and the bars that are drawn."""
        found = [(tag, "".join(text)) for tag, text in self.texts if tag in tags]
        return [(tag, " ".join(re.sub("[▏▎▍▌▋▊▉█]", "", text).split())) for tag, text in found]

    def outline(self):
        """Tags with their classes, those within figures left out, whose ticks depend on the length of labels."""
        kept, inside = [], False
        for tag, attributes in self.tags:
            inside = tag in SVG_TAGS
            if not inside:
                kept.append((tag, attributes.get("class"), sorted(attributes)))
        return kept


SVG_TAGS = {"svg", "g", "defs", "path", "use", "text", "tspan", "clippath", "rect", "image"}


@dataclasses.dataclass(frozen=True)
class Written:
    """A report in a folder."""

    folder: object
    html: str
    markdown: str

    @property
    def page(self):
        return Parsed(self.html)


def markdown_reader():
    """A reader that is not ours, with tables as GitHub has them, and HTML allowed."""
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    return reader.enable(["table", "strikethrough"])


def written(folder, results, given=None):
    write(results, folder, pictures() if given is None else given)
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")]
    return Written(folder, *texts)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return written(tmp_path_factory.mktemp("plain"), example())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    given = {name + POISON: svg for name, svg in pictures().items()}
    return written(tmp_path_factory.mktemp("hostile"), poisoned(example(), POISON), given)


@pytest.fixture(scope="module")
def lonely(tmp_path_factory):
    """One seed: no intervals, no tests, no claims."""
    results = example(seeds=1, notes=("One seed: no verdicts.",))
    return written(tmp_path_factory.mktemp("lonely"), results)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


DRAWN = ("effects", "curves", "tuning", "shown", "masks")
"""Parts that have figures, which take time."""


def quiet(**changes):
    """The example without figures."""
    return dataclasses.replace(everything_but(*DRAWN), **changes)


def titles(results):
    return [own.title for own in document(results, pictures()).sections]


def words(results):
    """Everything that a report without figures says."""
    return str(document(results, {}))


# Data cannot act.


def test_data_cannot_change_what_the_page_consists_of(plain, hostile):
    assert hostile.page.outline() == plain.page.outline()


def test_every_element_and_attribute_is_one_that_the_report_writes(hostile):
    for tag, attributes in hostile.page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "link", "form", "base", "foreignobject")
        assert not [name for name in attributes if name.startswith("on")]
        href = attributes.get("href", "#")
        assert href.startswith(("#", "data:image/png")), href


def test_hostile_text_is_shown_as_it_is_with_hidden_characters_as_escapes(hostile):
    shown_there = visible("BERT" + POISON)
    cells = [text for _, text in hostile.page.of("th")]
    assert cells.count(" ".join(shown_there.split())) >= 10
    for text in (hostile.html, hostile.markdown):
        hidden = set("\x00\x1b\x85\u202e\u2028\ufeff\r\t") & set(text)
        assert not hidden, hidden


def test_markdown_reads_data_as_text(plain, hostile):
    """The tokens of a Markdown reader are the same: no data makes a link, a tag, a list, a heading or a cell."""
    kinds = [[token.type for token in markdown_reader().parse(own.markdown)] for own in (plain, hostile)]
    assert kinds[0] == kinds[1]
    for block in markdown_reader().parse(hostile.markdown):
        assert block.type != "html_block"
        inner = {token.type for token in block.children or ()}
        assert inner <= {"text", "image", "strong_open", "strong_close", "softbreak"}, inner


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "1. a", "12) a", "> a", "---", "=", "  * a", "`a", "a|b", "<b>",
                                  "[a](b)", "_a_", "~~a~~", "&lt;", "\\", "\\|", "a_b", "1 < 2", "***"])  # fmt: skip
def test_no_block_of_markdown_is_more_than_its_text(text):
    """Each wherever a block begins, by a reader that is not ours."""
    section = Section("s", (Paragraph(text), Table("t", ("a", "p"), ((text, "-"),), left=("a",))))
    source = markdown.render(Document("title", text, ("fact",), (text,), (section,)))
    found = Parsed(markdown_reader().render(source)).of("p", "li", "td", "h2")
    own = text.strip()
    assert found == [("p", own), ("p", "fact"), ("li", own), ("h2", "s"), ("p", own), ("td", own), ("td", "-")]


def test_what_is_harmless_stays_readable():
    assert (
        markdown.escaped("left to right: gpt < bert, d_model -0.12 (x)")
        == "left to right: gpt < bert, d_model -0.12 (x)"
    )


def test_a_poisoned_table_of_a_task_is_still_cells(tmp_path):
    table = f"| model | n |\n| --- | --: |\n| {POISON} | 1 |"
    found = written(tmp_path, quiet(shown=(Shown("Task", (table,)),)))
    assert not {tag for tag, _ in found.page.tags} & {"img", "script"}
    inner = itertools.chain(*(block.children or () for block in markdown_reader().parse(found.markdown)))
    assert {token.type for token in inner} <= {"text", "image", "strong_open", "strong_close"}


def test_figure_files_stay_in_their_folder(tmp_path):
    given = {"../../escape/x": pictures()["reliability"]}
    found = written(tmp_path / "a" / "b", quiet(shown=(Shown("Task", (), tuple(given)),)), given)
    outside = {path for path in tmp_path.rglob("*") if path.is_file()} - {*found.folder.rglob("*")}
    assert not outside
    assert "figures/task-1-escape-x.svg" in files(found.folder)


# One page that needs nothing.


def test_the_page_loads_nothing(plain, hostile):
    for own in (plain, hostile):
        for tag, attributes in own.page.tags:
            assert not {"src", "srcset", "action", "data", "poster"} & set(attributes), (tag, attributes)
            for value in filter(None, (attributes.get("style"), attributes.get("clip-path"))):
                assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", value))
        css = "".join(text for tag, text in own.page.of("style"))
        assert "@import" not in css and "url(" not in css and "@font-face" not in css
    assert "://" not in plain.html


def test_a_browser_is_told_to_load_nothing(plain):
    policy = [own["content"] for tag, own in plain.page.tags if own.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0].startswith("default-src 'none'") and "script-src" not in policy[0]


def test_a_phone_is_told_to_use_its_own_width(plain):
    (own,) = [own["content"] for tag, own in plain.page.tags if own.get("name") == "viewport"]
    assert own.startswith("width=device-width")


def test_ids_are_unique_and_every_reference_finds_one(hostile):
    ids = [own["id"] for _, own in hostile.page.tags if "id" in own]
    assert len(ids) > 100
    assert len(set(ids)) == len(ids)
    references = set(re.findall(r"url\(#([^)]*)\)", hostile.html))
    references |= {own["href"][1:] for _, own in hostile.page.tags if own.get("href", "").startswith("#")}
    assert references and references <= set(ids)


def test_figures_take_the_colors_of_the_page_and_say_what_they_show(plain):
    figures = [own for tag, own in plain.page.tags if tag == "svg"]
    assert len(figures) == len(list((plain.folder / "figures").glob("*.svg")))
    assert all(own["role"] == "img" and own["aria-label"] and own["fill"] == "currentColor" for own in figures)
    svgs = "".join(re.findall("<svg.*?</svg>", plain.html, re.DOTALL))
    fixed = set(re.findall("#[0-9a-f]{6}", svgs))
    assert fixed and fixed <= {*COLORS, GRAY, "#1f77b4"} - {"#000000"}  # one is matplotlib's own, in a given figure


def test_files_of_figures_are_svgs_of_their_own_and_pngs(plain):
    for path in (plain.folder / "figures").iterdir():
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert path.read_bytes().startswith(b"\x89PNG")


# What it says, and in which order.


def test_html_and_markdown_say_the_same(plain, hostile, lonely):
    leaves = ("h1", "h2", "h3", "th", "td", "pre")
    for own in (plain, hostile, lonely):
        other = Parsed(markdown_reader().render(own.markdown))
        assert [text for _, text in own.page.of(*leaves)] == [text for _, text in other.of(*leaves)]
        said = {text.translate(str.maketrans("", "", "[]")) for _, text in other.of("p", "li")}
        mine = [text.translate(str.maketrans("", "", "[]")) for _, text in own.page.of("p", "figcaption")]
        assert not [text for text in mine if text not in said]


def test_verdicts_come_first_and_failures_stay(plain):
    assert plain.page.of("h2")[0] == ("h2", "Verdicts")
    badges = [text for own, text in zip(*_badges(plain), strict=True)]
    assert badges == ["✓ PASS", "✗ FAIL", "? INCONCLUSIVE", "✓ PASS", "– NO VERDICT"]
    assert _badges(plain)[0] == ["pass", "fail", "inconclusive", "pass", "no-verdict"]


def _badges(own):
    found = re.findall('<span class="badge ([a-z-]+)">([^<]*)</span>', own.html)
    return [kind for kind, _ in found], [text for _, text in found]


def test_seeds_that_are_needed_are_said(plain):
    assert "a decision needs at least 7 seeds, and there are 8" in plain.markdown
    assert "no claim can be decided with fewer than 7 seeds, and there are 2" in words(quiet(seeds=(0, 1)))
    assert "needs at least 2 seeds, and there are 2" in words(quiet(seeds=(0, 1), seeds_needed=2))


def test_a_closed_form_that_fails_is_an_alarm():
    good = quiet()
    assert "closed form did not pass" not in words(good)
    verdicts = tuple(dataclasses.replace(one, outcome="FAIL") if one.expected else one for one in good.verdicts)
    assert "closed form did not pass" in words(quiet(verdicts=verdicts))


@pytest.mark.parametrize(
    ("part", "title"),
    [("measurements", "The yardsticks"), ("effects", "Effects"), ("curves", "Learning curves"), ("ledgers", "Budgets"),
     ("tuning", "Tuning"), ("shown", "Calibration"), ("blanks", "Predictions"), ("masks", "Attention masks"),
     ("pairing", "Pairing")],
)  # fmt: skip
def test_a_section_without_content_is_left_out(part, title):
    others = set(DRAWN) - {part}
    assert title not in titles(everything_but(part, *others))
    assert title in titles(everything_but(*others))


def test_a_suite_without_claims_says_so(lonely):
    assert "The suite makes no claims" in lonely.markdown
    assert not _badges(lonely)[0]


def test_what_has_no_value_is_a_dash(lonely, plain):
    for own in (lonely, plain):
        assert not [text for _, text in own.page.of("td", "th", "p", "li") if re.search(r"\b(nan|inf)\b", text, re.I)]
    assert ("td", "-") in lonely.page.of("td")


# Numbers.


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (NAN, "-"), (math.inf, "inf"), (1.23456, "1.2346"), (-0.5, "-0.5000"), (12.345, "12.35"), (0.0001234,
     "1.23e-04"), (12345.6, "12,346")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_an_interval_has_the_digits_of_its_greatest_number():
    assert interval(Interval(0.0005, -0.02, 0.03), sign="+") == "+0.0005 (-0.0200 to +0.0300)"
    assert interval(Interval(1.0, NAN, NAN)) == "1.0000"
    assert probability(1e-9) == "<0.0001" and probability(0.03125) == "0.0312" and probability(NAN) == "-"


def test_yardsticks_hold_every_mean_once(plain):
    results = example()
    tables = [block for block in document(quiet(), {}).sections[1].blocks if isinstance(block, Table)]
    for matching, table in zip(results.matchings, tables, strict=False):
        assert [row[0] for row in table.rows] == list(NAMES)
        for row in table.rows:
            for metric, cell in zip(results.metrics, row[1:], strict=True):
                own = [one.mean for one in results.measurements
                       if (one.matching, one.arm, one.metric) == (matching, row[0], metric.name)]  # fmt: skip
                assert cell == (interval(own[0]) if own else "-"), (matching, row, metric)  # without effects, no star


def effect(one, other, low, high):
    return Effect("tokens", "cloze", one, other, (), Interval((low + high) / 2, low, high), NAN)


@pytest.mark.parametrize(
    ("found", "leader"),
    [
        ([effect("BERT", "GPT", 0.1, 0.2), effect("BERT", "XLNet", 0.1, 0.2)], "BERT"),
        ([effect("GPT", "BERT", -0.2, -0.1), effect("XLNet", "BERT", -0.2, -0.1)], "BERT"),
        ([effect("BERT", "GPT", 0.1, 0.2), effect("BERT", "XLNet", -0.1, 0.2)], None),
        ([effect("BERT", "GPT", 0.1, 0.2)], None),
        ([effect("BERT", "GPT", 0.1, 0.2), effect("BERT", "XLNet", NAN, NAN)], None),
        ([effect("BERT", "GPT", 0.1, 0.2), effect("BERT", "XLNet", -0.2, -0.1)], None),
    ],
)
def test_the_best_is_marked_only_where_it_is_told_from_all_others(found, leader):
    ranking = (Ranking("tokens", "cloze", ("BERT", "GPT", "XLNet"), (0.5, 0.3, 0.3)),)
    results = example(effects=tuple(found), rankings=ranking)
    assert yardsticks.best(results, "tokens", results.metrics[1]) == leader
    assert yardsticks.best(results, "FLOPs", results.metrics[1]) is None


def test_flips_are_the_pairs_whose_order_differs():
    for orders in itertools.product(itertools.permutations("abcd"), repeat=2):
        base, other = (Ranking("", "", tuple(order), (0.0,) * 4) for order in orders)
        was, became = (order.index for order in orders)
        expected = {(late, early) for early in "abcd" for late in "abcd"
                    if was(early) < was(late) and became(late) < became(early)}  # fmt: skip
        assert set(yardsticks.flips(base, other)) == expected


def test_whether_the_ranking_survives_is_said_for_each_metric(plain):
    items = [text for _, text in plain.page.of("li")]
    assert (
        "left to right: the order does not survive: matched by FLOPs instead of tokens, XLNet overtakes GPT."
    ) in items
    same = tuple(dataclasses.replace(one, arms=NAMES, means=(1.0, 2.0, 3.0)) for one in example().rankings)
    assert "cloze', role='strong'), ': the same order under all 3 matchings.'" in words(quiet(rankings=same))
    assert "XLNet overtakes GPT (not both differences are told from 0)" in words(quiet())  # it has no effects
    assert "survive" not in words(quiet(matchings=("tokens",)))


def table_of(results, title, number=0):
    """A table of a section, its cells as text."""
    (section,) = [own for own in document(results, {}).sections if own.title == title]
    table = [block for block in section.blocks if isinstance(block, Table)][number]
    text = lambda cell: "".join(getattr(one, "text", "") for one in pieces(cell))  # noqa: E731
    return table.head, [[text(cell) for cell in row] for row in table.rows]


def test_the_four_ledgers_stand_side_by_side():
    results = quiet()
    for i, matching in enumerate(results.matchings):
        head, rows = table_of(results, "Budgets", i)
        for row, arm in zip(rows, results.arms, strict=True):
            (own,) = [one for one in results.ledgers if (one.matching, one.arm) == (matching, arm.name)]
            found = {name: cell.replace(",", "") for name, cell in zip(head, row, strict=True)}
            assert [int(found[name]) for name in ("parameters", "steps")] == [arm.parameters, own.steps]
            assert int(found["tokens read"]) == own.tokens and int(found["predicted"]) == round(own.predicted)
            assert float(found["FLOPs"]) == pytest.approx(own.flops, rel=1e-3)
            assert float(found["epochs"]) == pytest.approx(own.tokens / own.unique, abs=0.005)
            assert found["of the budget"] == f"{100 * own.share:.1f} %"
            assert found["seconds"] == ("-" if math.isnan(own.seconds) else f"{own.seconds:.1f}")


def test_a_column_of_losses_is_one_arm_and_its_best_is_marked():
    results = quiet(tuning=example().tuning)
    head, rows = table_of(results, "Tuning")
    for own in results.tuning:
        column = {float(row[0]): row[head.index(own.arm)] for row in rows}
        assert [rate for rate, cell in column.items() if cell.startswith("★ ")] == [own.best]
        assert [column[rate].removeprefix("★ ") for rate in own.rates] == list(map(number, own.loss))


def test_only_the_truth_is_right_and_every_answer_has_its_probability():
    results = quiet()
    for i, blank in enumerate(results.blanks):
        _, rows = table_of(results, "Predictions", i)
        for arm, truth, *cells in rows:
            assert truth == number(blank.truth_probability[arm])
            answers = [(token, f"{p:.3f}", token == blank.truth) for token, p in blank.answers[arm]]
            expected = [f"{visible(token)} {p}{' ✓' if right else ''}" for token, p, right in answers]
            assert [visible(cell) for cell in cells] == expected


def test_a_field_that_an_arm_does_not_change_is_a_dot():
    results = quiet()
    head, rows = table_of(results, "Configuration", 1)
    assert {row[0] for row in rows} == {field for arm in results.arms for field in arm.changes}
    for row in rows:
        for arm, cell in zip(results.arms, row[1:], strict=True):
            value = arm.changes.get(row[0], "·")
            assert cell == (f"{value:g}" if isinstance(value, float) else str(value)), (row, head)


def test_who_reads_the_same_stream_is_said():
    apart = dataclasses.replace(example().pairing, streams=(("BERT", "GPT"), ("XLNet",)))
    found = words(quiet(pairing=apart))
    assert "BERT and GPT read the same tokens at every step." in found
    assert "XLNet reads a stream of its own." in found
    assert table_of(quiet(), "Pairing")[1][0] == ["BERT", "GPT", "1,202,000", "1,204,736", "1,204,224"]


def test_changed_files_are_confessed():
    assert "Files of the checkout were changed" in words(quiet())
    clean = dataclasses.replace(example().origin, commit="0123abcd")
    assert "Files of the checkout were changed" not in words(quiet(origin=clean))


# Figures draw what the results hold.


def test_a_forest_has_a_point_and_an_interval_for_each_effect_and_a_dot_for_each_seed():
    results = example()
    figure = effects.forest(results)
    for axes, metric in zip(figure.axes, results.metrics, strict=True):
        own = [one for one in results.effects if one.metric == metric.name]
        drawn = [tuple(line.get_xdata()) for line in axes.lines]
        assert axes.lines[0].get_xdata() == [0, 0]
        for one in own:
            assert (one.mean.low, one.mean.high) in drawn
            assert one.by_seed in drawn
        means = [x for line in axes.lines if line.get_markersize() == 5 for x in line.get_xdata()]
        assert sorted(means) == sorted(one.mean.value for one in own)
        first, *_, last = axes.get_ylim()
        assert first > last  # the first pair is on top


def test_an_effect_without_an_interval_is_a_point():
    figure = effects.forest(example(seeds=1))
    for axes in figure.axes:
        means = {x for line in axes.lines if line.get_markersize() == 5 for x in line.get_xdata()}
        assert means and {x for line in axes.lines[1:] for x in line.get_xdata()} == means


@pytest.mark.parametrize("axis", ["tokens", "flops"])
def test_curves_are_baseline_minus_loss_and_the_band_holds_every_seed(axis):
    results = example()
    figure = curves.curves(results, axis)
    for axes, arm in zip(figure.axes, NAMES, strict=True):
        own = [one for one in results.curves if one.arm == arm]
        for line, band, curve in zip(axes.lines, axes.collections, own, strict=False):
            assert tuple(line.get_xdata()) == getattr(curve, axis)
            mean = [curve.baseline - sum(values) / len(values) for values in zip(*curve.loss, strict=True)]
            np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-12)
            heights = band.get_paths()[0].vertices[:, 1]
            assert heights.max() == pytest.approx(curve.baseline - min(map(min, curve.loss)))
            assert heights.min() == pytest.approx(curve.baseline - max(map(max, curve.loss)))


def test_a_run_that_diverged_is_drawn_as_far_as_it_goes(tmp_path):
    curve = example().curves[0]
    broken = dataclasses.replace(curve, loss=tuple((*row[:5], math.inf, NAN, *row[7:]) for row in curve.loss))
    gain = curves.gain(broken)
    assert np.isnan(gain[:, 5:7]).all() and np.isfinite(np.delete(gain, [5, 6], axis=1)).all()
    curves.curves(example(curves=(broken,)), "tokens").savefig(tmp_path / "x.svg")


def test_a_mask_is_drawn_square_by_square():
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = rng.random(rng.integers(1, 9, 2)) < 0.5
        centers = masks.squares(seen).vertices.reshape(-1, 5, 2)[:, :4].mean(axis=1)
        drawn = np.zeros_like(seen)
        drawn[np.rint(centers[:, 1]).astype(int), np.rint(centers[:, 0]).astype(int)] = True
        assert (drawn == seen).all() and len(centers) == seen.sum()


def test_content_and_query_rows_are_drawn_with_the_tokens_that_are_asked_for():
    bert, _, xlnet = example().masks
    content, query = masks.drawing(xlnet).axes
    for axes, seen in ((content, xlnet.content), (query, xlnet.query)):
        (patch,) = [one for one in axes.patches if isinstance(one, PathPatch)]
        np.testing.assert_array_equal(patch.get_path().vertices, masks.squares(seen).vertices)
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [tick.get_text() for tick in query.get_yticklabels()] == [f"{i} → {token}" for i, token in xlnet.predicts]
    assert {tick.get_fontweight() for tick in query.get_yticklabels()} == {"bold"}
    (axes,) = masks.drawing(bert).axes
    ticks = {tick.get_text(): tick.get_fontweight() for tick in axes.get_yticklabels()}
    assert ticks["[MASK] → ▁sat"] == "bold" and ticks["▁the"] == "normal"


def test_a_long_row_is_drawn_pixel_by_pixel_on_one_page():
    seen = np.tril(np.ones((300, 300), bool))
    figure = masks.drawing(Mask("GPT", ("x",) * 300, seen, seen[:40], ()))
    for axes, own in zip(figure.axes, (seen, seen[:40]), strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(np.isfinite(image.get_array().filled(np.nan)), own)
    assert figure.get_figwidth() < 13


def test_slots_of_the_query_stream_that_are_not_used_have_no_label():
    mask = example().masks[2]
    spare = dataclasses.replace(mask, query=np.concatenate([mask.query, np.zeros((1, 10), bool)]))
    assert [tick.get_text() for tick in masks.drawing(spare).axes[1].get_yticklabels()][2:] == [""]
    none = dataclasses.replace(mask, query=mask.query[:0], predicts=())
    assert len(masks.drawing(none).axes) == 1


# Characters.


@pytest.mark.parametrize("category", ["Cc", "Cf", "Cs", "Co", "Zl", "Zp"])
def test_no_hidden_character_is_left(category):
    every = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == category]
    kept = "\u200c\u200d" if category == "Cf" else ""
    assert all(one.isascii() for text in every[:3000] if text not in kept for one in visible(text))
    assert visible(kept) == kept


def test_what_can_be_seen_is_left():
    text = "The cat, 猫, сидит; أ e\u0301 🙂 ▁a Ġb \\u{41} $x^2$"
    assert visible(text) == text
    assert visible("a\nb\tc\x00\u202e") == "a\\nb\\tc\\u{0}\\u{202e}"


def test_labels_have_an_end():
    assert label("x" * 24) == "x" * 24 and label("x" * 25) == "x" * 23 + "…"
    assert width("a猫。b") == 6


def test_chinese_stays_text_in_the_svg(tmp_path):
    mask = dataclasses.replace(example().masks[0], tokens=tuple("猫坐在垫子上。它睡了"))
    found = written(tmp_path, quiet(masks=(mask,)))
    assert ">猫</text>" in found.html
    assert (tmp_path / "figures" / "mask-1.png").exists()  # of boxes


def test_dollars_are_dollars(tmp_path):
    mask = dataclasses.replace(example().masks[0], tokens=("$x^2$", "$\\frac$", *"abcdefgh"), predicts=())
    found = written(tmp_path, quiet(masks=(mask,))).html
    assert found.count(">$x^2$</text>") == found.count(">$\\frac$</text>") == 2


@pytest.mark.parametrize(
    "source",
    ['<script>alert(1)</script>', '<g onload="alert(1)"/>', '<image href="http://evil.example/x.png"/>',
     '<a href="javascript:alert(1)"><text>x</text></a>', "<foreignObject><p>x</p></foreignObject>",
     '<rect style="fill: url(http://evil.example/x)"/>', "<style>* {display: none}</style>",
     '<use href="http://evil.example/x.svg#a"/>'],
)  # fmt: skip
def test_of_a_given_svg_only_what_draws_is_kept(source):
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{source}<path id="a" d="M0 0"/></svg>'
    found = inline(text, "x", "title")
    assert not re.search("script|onload|evil|foreign|<style", found)
    assert '<path id="x-1" d="M0 0"' in found


def test_what_is_no_svg_or_is_not_given_is_refused():
    results = everything_but(*set(DRAWN) - {"shown"})
    with pytest.raises(InputError, match="has no reliability"):
        document(results, {})
    for source in ("<svg", "<g/>", "\ud800"):
        with pytest.raises(InputError, match="is not an SVG"):
            document(results, {"reliability": source})


def test_a_picture_may_be_a_file(tmp_path):
    (tmp_path / "x.svg").write_text(pictures()["reliability"])
    results = everything_but(*set(DRAWN) - {"shown"})
    assert document(results, {"reliability": tmp_path / "x.svg"}) == document(results, pictures())


# Tables of tasks.


def test_a_table_of_a_task_is_read_again():
    text = "before\n\n| model | n |\n| ----- | -: |\n| a\\|b |  1 |\n| c | 2 | 3 |\n| d |\n\nafter"
    before, table, after = shown.blocks(text, "caption")
    assert (before.words, after.words) == ("before", "after")
    assert table.head == ("model", "n") and table.left == ("model",)
    assert table.rows == (("a|b", "1"), ("c", "2 | 3"), ("d", ""))


# Files.


def test_the_same_results_give_the_same_bytes(plain, tmp_path):
    written(tmp_path, example())
    assert files(tmp_path) == files(plain.folder)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_write_that_is_cut_off_leaves_every_file_whole(at, tmp_path, monkeypatch):
    """Whether the process is killed before the first file, or before the last."""
    for name, question in (("old", "Old?"), ("new", "New?"), ("cut", "Old?")):
        written(tmp_path / name, quiet(question=question, masks=()), {})
    old, new = files(tmp_path / "old"), files(tmp_path / "new")
    left, whole = itertools.count(at, -1), os.replace

    def replace(source, target):
        if next(left) == 0:
            raise KeyboardInterrupt
        whole(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt) if at < 3 else contextlib.nullcontext():
        written(tmp_path / "cut", quiet(question="New?"), {})
    found = files(tmp_path / "cut")
    replaced = ["results.json", "report.md", "report.html"][:at]
    assert [name for name in sorted(old) if found[name] == new[name]] == sorted(replaced)
    assert set(found) == set(old) and all(content in (old[name], new[name]) for name, content in found.items())


def test_a_write_that_fails_halfway_leaves_the_old_page(tmp_path, monkeypatch):
    before = written(tmp_path, quiet(), {})

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        written(tmp_path, quiet(question="New?"), {})
    assert (tmp_path / "report.html").read_text() == before.html
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "results.json", "figures"}
