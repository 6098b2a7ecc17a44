"""The findings: their yardsticks on answers that are known, and the suite that claims them.

The source's own answers are the optimum, of which theory says what every yardstick finds; other answers are made here.
"""

import itertools

import jax
import numpy as np
import pytest

from ablation.findings import consistency, echoes, masses, pairs, rates, reversal, shown, sides, words
from ablation.findings.asking import Asked, Questions, asked_model, bits, expected_bits, optimum
from ablation.significance import seeds_needed
from ablation.suite import ALPHA, check
from ablation.yardsticks import Items
from batch import InputError
from configs.suites import findings
from data.config import DataConfig
from data.prepare import prepare
from data.sources import open_source
from data.tokenizer import Tokenizer
from evaluation.batched import silent
from evaluation.blocks import cut
from evaluation.checkpoints import Checkpoint, Text
from evaluation.likelihood import Options, any_order, carried, left_to_right
from evaluation.passes import Subject
from evaluation.scores import block_sums
from evaluation.task import Entry
from models import XlnetConfig, build_model
from models.parameters import initialize
from objectives import CausalLm, MaskedLm, PermutationLm
from training.config import Experiment

MARKOV = open_source("markov:symbols=3,length=7,seed=1")
COUPLED = open_source("coupled:symbols=4")
MODEL = XlnetConfig(num_layers=1, num_heads=2, model_dim=8, mlp_dim=16, initializer_range=0.5, dropout_rate=0.0)
OBJECTIVES = {"causal": CausalLm(), "masked": MaskedLm(), "permuted": PermutationLm()}


def subject(objective, model=MODEL):
    """A model of bytes that has learned nothing."""
    vocab = Tokenizer("bytes").vocab
    built = build_model(model, vocab.size, precision="float32", remat="none")
    return Subject(model, built, initialize(built, jax.random.key(1)), objective, vocab)


def entry(corpus, objective, text=None, model=MODEL, length=16):
    data = DataConfig(corpus=corpus, tokenizer="bytes", length=length)
    experiment, own = Experiment(model, objective, data), subject(objective, model)
    return Entry(Checkpoint(None, 0, experiment, Tokenizer("bytes"), own), text, length)  # type: ignore[arg-type]


def asked(objective, source=MARKOV, corpus="markov:symbols=3,length=7,seed=1"):
    return asked_model(entry(corpus, objective), source)


def value(total, weight=None):
    return Items(total, np.ones(len(total)) if weight is None else weight).value


# How models are asked


@pytest.mark.parametrize("name", OBJECTIVES)
def test_answers_are_distributions_that_know_nothing_of_what_is_hidden(name):
    model, strings = asked(OBJECTIVES[name]), MARKOV.sample(12, 5)
    place = np.arange(12) % 7
    shown = np.arange(7) < place[:, None]
    found = model.answers()(Questions(strings, shown, place))
    assert found.shape == (12, 3) and np.abs(found.sum(axis=1) - 1).max() < 1e-5
    others = np.where(shown, strings, (strings + 1) % 3)
    assert np.abs(model.answers()(Questions(others, shown, place)) - found).max() < 1e-6
    seen = np.where(shown, (strings + 1) % 3, strings)
    assert (np.abs(model.answers()(Questions(seen, shown, place)) - found).max(axis=1) > 1e-6)[place > 0].all()


def test_a_causal_model_answers_from_one_side_as_it_reads_and_from_both_by_bayes_rule():
    model = asked(CausalLm())
    strings = np.array(list(itertools.product(range(3), repeat=3)))
    blocks = model.blocks(strings)
    log_p = block_sums(left_to_right(model.subject, blocks), len(strings)).reshape(3, 3, 3)
    p, row, one = np.exp(log_p), np.arange(27), np.ones(27, int)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    both = model.answers()(Questions(strings, np.arange(3) != one[:, None], one))
    expected = (p / p.sum(axis=1, keepdims=True)).reshape(27)
    assert np.abs(both[row, strings[:, 1]] - expected).max() < 1e-5
    left = model.answers()(Questions(strings, np.arange(3) < one[:, None], one))
    assert (
        np.abs(
            left[row, strings[:, 1]] - (p.sum(axis=2) / p.sum(axis=(1, 2))[:, None])[strings[:, 0], strings[:, 1]]
        ).max()
        < 1e-5
    )
    with pytest.raises(AssertionError, match="hidden beside"):
        model.answers()(Questions(strings, np.zeros((27, 3), bool), one))


def test_a_loss_is_an_expectation_under_the_source():
    strings, place = MARKOV.sample(4000, 2), np.full(4000, 3)
    questions = Questions(strings, np.arange(7) < place[:, None], place)
    answers = lambda asked: np.tile([0.2, 0.3, 0.5], (len(asked.place), 1))  # noqa: E731
    drawn, expected = bits(questions, answers), expected_bits(MARKOV, questions, answers)
    assert abs((drawn - expected).mean()) < 4 * (drawn - expected).std() / np.sqrt(4000)
    least = expected_bits(MARKOV, questions, optimum(MARKOV))
    assert (least <= expected + 1e-12).all()


def test_another_text_is_refused_in_one_sentence():
    for corpus in ("echo:", "docstrings"):
        with pytest.raises(InputError, match=r"data\.corpus=.*markov:") as error:
            rates.lost_at_rates((0.5,)).measure(entry(corpus, MaskedLm()), silent)
        assert str(error.value).endswith(".")


# What each yardstick finds of known answers


def alone(questions):
    """Answers that know each symbol of a coupled group by its frequency, and nothing of the others."""
    nothing = Questions(questions.symbols, np.zeros_like(questions.shown), questions.place)
    return optimum(COUPLED)(nothing)


def test_a_perfect_model_loses_the_information_at_once_and_finds_it_in_turn():
    lost = pairs.bits_at_once(COUPLED, optimum(COUPLED)) - pairs.bits_in_turn(COUPLED, optimum(COUPLED), causal=False)
    for causal in (False, True):
        found = 2 * np.log2(4) - pairs.bits_in_turn(COUPLED, optimum(COUPLED), causal=causal)
        assert pairs.against_information(COUPLED, found).value == pytest.approx(1, abs=1e-9)
    assert pairs.against_information(COUPLED, lost).value == pytest.approx(1, abs=1e-9)
    assert pairs.against_information(COUPLED, 2 * lost).value == pytest.approx(2, abs=1e-9)


def test_who_knows_frequencies_alone_loses_and_finds_nothing():
    at_once, in_turn = pairs.bits_at_once(COUPLED, alone), pairs.bits_in_turn(COUPLED, alone, causal=False)
    assert np.allclose(at_once, 4) and np.allclose(in_turn, 4)  # 2 log2 4, whatever the context


def conditional(source, left, right):
    """H(x | the symbol so far before it, and the one so far after it) of a first-order chain, in bits."""
    before, after = (np.linalg.matrix_power(source.transition, steps) for steps in (left, right))
    joint = source.histories[:, None, None] * before[:, :, None] * after[None]
    return -(joint * np.log2(joint / joint.sum(axis=1, keepdims=True))).sum()


def test_what_is_lost_at_a_rate_is_the_total_correlation_of_long_chains():
    """By matrix powers: what is known of a symbol is how far the nearest two are that are shown."""
    source = open_source("markov:symbols=3,length=60,seed=1")
    hidden = rates.hidden_places(60, 0.3)
    assert (hidden.sum(axis=1) == 18).all() and len(np.unique(hidden, axis=0)) == rates.STRINGS
    lost, count = 0.0, 0
    for row in hidden:
        at = np.flatnonzero(~row)
        for place in np.flatnonzero(row):
            before, after = at[at < place], at[at > place]
            if not len(before) or not len(after):
                continue
            left, right = place - before[-1], after[0] - place
            lost += conditional(source, left, right) - conditional(source, 1, right)
            count += 1
    found = rates.total_correlation(source, 0.3)
    assert found == pytest.approx(lost / count, rel=0.15) and lost / count > 0.05


def test_more_is_lost_at_higher_rates_and_nothing_by_who_ignores_the_others():
    source = open_source("markov:symbols=3,length=20,seed=1")
    values = [rates.total_correlation(source, rate) for rate in (0.1, 0.3, 0.5, 0.9)]
    assert values == sorted(values) and values[0] >= 0
    uniform = lambda asked: np.full((len(asked.place), 3), 1 / 3)  # noqa: E731
    assert abs(rates.lost(source, 0.5, uniform).value) < 1e-12


def test_chain_rules_add_up_to_one_and_the_pseudo_likelihood_of_the_source_to_what_enumeration_says():
    in_turn, pseudo = masses.mass(MARKOV, optimum(MARKOV))
    assert np.allclose(in_turn, 1)
    strings = MARKOV.sample(masses.STRINGS, 1)
    for row in (0, 17):
        given = np.tile(strings[row], (9, 1))
        given[:, 3:5] = list(itertools.product(range(3), repeat=2))
        p = np.exp(MARKOV.log_p(given, np.ones_like(given, bool))).reshape(3, 3)
        both = p / p.sum(axis=0, keepdims=True) * p / p.sum(axis=1, keepdims=True)
        assert pseudo[row] == pytest.approx(both.sum())
    assert abs(pseudo.mean() - 1) > 0.1


def test_the_optimum_has_no_regret_and_gains_what_both_sides_say():
    found = sides.sides(MARKOV, optimum(MARKOV))
    assert found[sides.LEFT.name].value == found[sides.BOTH.name].value == 0
    left = MARKOV.entropy / np.log(2) / 7
    inner = conditional(MARKOV, 1, 1)
    assert found[sides.GAINED.name].value == pytest.approx(left - inner, abs=0.15)
    uniform = sides.sides(MARKOV, lambda asked: np.full((len(asked.place), 3), 1 / 3))
    assert uniform[sides.GAINED.name].value == pytest.approx(0) and uniform[sides.BOTH.name].value > 0.1
    assert uniform[sides.LEFT.name].value == pytest.approx(np.log2(3) - left, abs=0.15)


def test_a_shown_symbol_costs_nothing_to_who_looks_and_all_to_who_does_not():
    looks = lambda asked: np.where(np.arange(3) == asked.truth[:, None], 1.0, 0.0)  # noqa: E731
    assert shown.own_bits(MARKOV, looks).value == 0
    assert shown.own_bits(MARKOV, lambda asked: np.full((len(asked.place), 3), 1 / 3)).value == pytest.approx(
        np.log2(3)
    )
    seen = []
    shown.own_bits(MARKOV, lambda asked: seen.append(asked) or looks(asked))
    assert seen[0].shown.all() and set(seen[0].place) == set(range(7))


LEXICON = open_source("lexicon:words=4")


def test_pseudo_likelihoods_give_long_words_their_entropy_and_the_score_by_words_nothing():
    entropy = -(LEXICON.frequency * np.log2(LEXICON.frequency)).sum()
    assert words.theory(LEXICON) == pytest.approx(entropy)
    assert abs(words.preferred(LEXICON, optimum(LEXICON), whole=True).value) < 1e-9
    uniform = lambda asked: np.full((len(asked.place), 16), 1 / 16)  # noqa: E731
    assert words.preferred(LEXICON, uniform, whole=False).value == pytest.approx(4 - 12)  # three pieces cost thrice


def test_every_word_stands_once_in_every_text():
    strings = words.every_word(LEXICON).reshape(words.AMID, 4, -1)
    assert (strings[:, :, 12] == LEXICON.short).all() and (strings[:, :, 13:16] == LEXICON.long).all()
    assert (strings[:, :1, :12] == strings[:, :, :12]).all() and (strings[:, :1, 16:] == strings[:, :, 16:]).all()


FACTS = open_source("facts:facts=6,letters=3,both=0.34")


def test_facts_are_asked_in_the_direction_that_nobody_told():
    told, name = reversal.sentences(FACTS, told=True)
    back, written = reversal.sentences(FACTS, told=False)
    ways = FACTS.one_way
    assert ways.tolist() == [2, 3, 4, 5] and told.shape == (4, 30)
    assert (told[:, name : name + 4] == np.column_stack([FACTS.names[ways], FACTS.attributes[ways]])).all()
    assert (back[:, written:] == FACTS.names[ways]).all() and written + 2 == back.shape[1]
    assert (back[:, written - 3] == FACTS.markers[1]).all() and (told[:, name - 1] == FACTS.markers[0]).all()
    assert (back[:, written - 2 : written] == FACTS.attributes[ways]).all()
    rows = {tuple(row) for row in FACTS.table.rows.tolist()}
    assert not rows & {tuple(row) for row in back[:, -5:].tolist()}  # never told


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_a_name_is_found_where_it_is_the_likeliest_of_all(objective, monkeypatch):
    model, seen = asked(OBJECTIVES[objective], FACTS, "facts:facts=6,letters=3,both=0.34"), []

    def score(subject, blocks, rows, place, spans, batch, watch):
        """All but the last fact right."""
        seen.append((blocks.tokens, place))
        assert (spans == model.letters[FACTS.names]).all()
        best = np.array([2, 3, 4, 0])
        return -np.abs(np.arange(6) - best[:, None]).astype(float)

    monkeypatch.setattr(reversal, "joint" if objective == "causal" else "inside", score)
    assert reversal.found(FACTS, model, told=True, watch=silent).tolist() == [1, 1, 1, 0]
    (tokens, place), name = seen[0], FACTS.names[FACTS.one_way]
    assert (np.take_along_axis(tokens, place[:, None] + np.arange(2), axis=1) == model.letters[name]).all()


def test_a_causal_model_is_asked_for_names_as_it_writes_and_others_as_they_fill_in(monkeypatch):
    ways = []
    monkeypatch.setattr(reversal, "found", lambda source, model, *, told, watch: ways.append(told) or np.array([told]))
    for objective, own in ((CausalLm(), False), (MaskedLm(), True)):
        found = reversal.reversal().measure(entry("facts:", objective), silent)
        assert found[reversal.OWN.name].value == own and not found[reversal.WRITTEN.name].value


def test_the_spread_over_orders_is_the_deviation_of_the_sums(monkeypatch):
    model = asked(PermutationLm())
    blocks = model.blocks(MARKOV.sample(5, 1))
    scores = any_order(model.subject, blocks, 3, Options())
    sums = np.stack([block_sums(score, 5) for score in scores]) / np.log(2)
    found = consistency.spread(scores, 5)
    assert found.value == pytest.approx(np.mean([np.std(row, ddof=1) for row in sums.T]) / 7)
    assert found.value > 1e-4 and consistency.spread((scores[0], scores[0]), 5).value == 0


def test_only_symbols_with_one_a_period_before_them_count_as_repeated(tmp_path):
    corpus = "echo:symbols=5,period=5,length=13,documents=40"
    prepared = prepare(DataConfig(corpus=corpus, tokenizer="bytes", cache=str(tmp_path)), lambda line: None)
    model = XlnetConfig(**{**vars(MODEL), "memory_length": 6, "empty_memory": "masked"})
    tested = entry(corpus, CausalLm(), Text(prepared.train, None), model, length=6)
    found = echoes.repeated_symbols().measure(tested, silent)[echoes.REPEATS.name]
    documents = prepared.train.num_documents
    assert found.weight.sum() == 8 * documents  # of 13 symbols
    own = asked_model(tested, open_source(corpus)).subject
    blocks = cut(prepared.train, own.vocab, 6, carried=True)
    score = carried(own, blocks)
    place = np.array([at for _ in range(documents) for at in range(13)])
    kept = place >= 5
    assert len(score.tokens.log_p) == len(place)  # newlines are no letters
    assert found.total.sum() == pytest.approx(-score.tokens.log_p[kept].sum() / np.log(2), rel=1e-6)


# The suite


def test_every_claim_of_the_suite_is_about_an_arm_that_can_be_asked_for_it():
    suite = findings.get_suite()
    experiments = check(suite)
    assert len(experiments) <= 30
    assert {metric for metric in suite.metrics} >= {claim.metric for claim in suite.claims}
    assert len({claim.text for claim in suite.claims}) == len(suite.claims)


def test_the_suite_has_the_seeds_that_its_claims_need():
    suite = findings.get_suite()
    assert suite.seeds == seeds_needed(len(suite.claims), ALPHA)


def test_closed_forms_are_numbers_that_must_hold_and_no_other_claim_must():
    for family in findings.CLOSED:
        assert all(claim.expected and claim.kind == "equals" for claim in family())
    for family in findings.OPEN:
        assert not any(claim.expected for claim in family())


def test_arms_of_one_finding_differ_in_their_objective_or_their_memory_alone():
    experiments = check(findings.get_suite())
    first = {arm.partition(":")[0]: each for arm, each in reversed(experiments.items())}
    for arm, experiment in experiments.items():
        base = first[arm.partition(":")[0]]
        assert experiment.optimizer == base.optimizer and experiment.precision == base.precision
        if not arm.startswith("echo"):
            assert experiment.model == base.model and experiment.data.corpus == findings.CORPORA[arm.partition(":")[0]]
            assert experiment.data.length == findings.LENGTH


def test_corpora_are_the_sources_that_the_values_are_computed_of():
    found = {name: open_source(corpus) for name, corpus in findings.CORPORA.items()}
    expected = (findings.MARKOV, findings.COUPLED, findings.ECHO, findings.FACTS, findings.LEXICON)
    assert tuple(found.values()) == expected


def test_questions_fit_into_the_windows_of_training():
    for source, groups in ((findings.COUPLED, pairs.GROUPS), (findings.LEXICON, words.GROUPS)):
        assert source.table.width * groups < findings.LENGTH
    assert findings.FACTS.table.width * reversal.GROUPS < findings.LENGTH and findings.MARKOV.length < findings.LENGTH
    assert findings.ECHO.period == check(findings.get_suite())["echo: memory 0"].data.length


def test_asked_models_have_no_other_symbols_than_the_letters():
    model = asked(MaskedLm())
    assert isinstance(model, Asked) and len(model.letters) == 3
    assert sorted(set(range(model.subject.vocab.size)) - set(model.subject.vocab.special)) == sorted(model.letters)
