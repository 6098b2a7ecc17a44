"""Answers and choices from files to results: what is read, predicted and written, and that it is learned."""

import dataclasses
import json
import math

import numpy as np
import pytest

import commands
import tasks
from batch import InputError, Mean
from data.task import TaskData
from finetuning import sources
from finetuning.answers import answers_of, measured_answers, stacked, write_found
from finetuning.build import Recipe, build_task_run, encode, encoded, experiment_of, open_pretrained, start_of
from finetuning.choosing import encode_questions
from finetuning.examples import Answer, Question
from finetuning.files import Layout
from finetuning.formats.squad import read_questions
from finetuning.metrics.answers import word_f1
from finetuning.scoring import majority, references_of
from finetuning.sources import open_sets
from finetuning.spans.decoding import Guess, Prediction
from finetuning.task import Task
from finetuning.templates import BERT, GPT, XLNET
from objectives import Extraction
from objectives.pointing import NEVER, Beams
from training.loop import train

SETS = {"choose": tasks.choice(), "which": tasks.extraction(), "none": tasks.extraction(nullable=True)}
SETS["none"] = dataclasses.replace(SETS["none"], others={"more": tasks.asked(9, 5, nullable=True)})
ENGLISH = Task("t", "extraction", ("exact", "answer_f1"))
QUESTIONS = [
    Question("en", "who?", "The old boat of Ann Lee sank; Ann swam to the tree.", (Answer("Ann Lee", 16),)),
    Question("zh", "谁？", "那只旧船属于李安，后来它沉了。她游到了树旁。", (Answer("李安", 6),)),
    Question("none", "when?", "A boat sank and nobody knows when it was.", (), True),
]


# From scores to answers.


def gold(made, *, beams, width):
    """What an objective would read of each window if the model were sure of what is right there."""
    found = []
    for span, places in zip(made.span, made.places, strict=True):
        score = -0.1 if span.min() >= 0 else -20.0
        if beams:
            start, ends = np.array([max(span[0], 0), width - 1]), np.array([[max(span[1], 0), 0], [width - 1, 0]])
            null = np.float32(span.max() == 0)
            found.append(Beams(start, np.array([score, -30.0]), ends, np.full((2, 2), score), null))
        else:
            own = np.full((2, width), NEVER, np.float32)
            own[:, : len(places)] = 0
            own[[0, 1], span] += 5 if span.min() >= 0 else 0
            found.append(own)
    return found


@pytest.mark.parametrize("template", [BERT, GPT, XLNET])
@pytest.mark.parametrize("beams", [False, True])
@pytest.mark.parametrize("nullable", [False, True])
def test_gold_scores_of_slots_are_the_answers_at_their_exact_characters(template, beams, nullable):
    data = TaskData(task="t", length=40, doc_stride=8, nullable=nullable)
    made = encode_questions(QUESTIONS, tasks.TOKENIZER, template, data, training=False)
    assert len(made) > 5, "several windows"
    found = answers_of(gold(made, beams=beams, width=40), made, data)
    assert [each.name for each in found] == ["en", "zh", "none"]
    assert [each.best for each in found[:2]] == ["Ann Lee", "李安"]
    if nullable:
        assert found[2].null_odds > max(each.null_odds for each in found[:2])
    else:
        assert {each.null_odds for each in found[:2]} == {-math.inf}


def test_beams_as_wide_as_a_window_find_the_best_of_all_spans():
    rng, data = np.random.default_rng(0), TaskData(task="t", length=60, max_answer=7)
    made = encode_questions(QUESTIONS[:1], tasks.TOKENIZER, BERT, data, training=False)
    (places,), width = made.places, 52
    size, start, ends = len(places), rng.normal(size=width), rng.normal(size=(width, width))
    first = np.argsort(-start)
    wide = Beams(first, start[first], np.argsort(-ends[first]), np.sort(ends[first])[:, ::-1], np.float32(0))
    (found,) = answers_of([wide], made, data)
    spans = [(start[i] + ends[i, j], i, j) for i in range(size) for j in range(i, min(i + 7, size))]
    text = QUESTIONS[0].context
    best = [text[i : j + 1].strip() for _, i, j in sorted(spans, reverse=True)]
    assert [each.text for each in found.guesses] == list(dict.fromkeys(filter(None, best)))[:20]
    assert found.guesses[0].score == pytest.approx(max(spans)[0])


def test_arrays_of_many_buckets_are_filled_up():
    found = stacked([np.ones((2, 3), np.int32), np.ones((2, 1), np.int32)], -1)
    assert found.tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, -1, -1], [1, -1, -1]]] and found.dtype == np.int32
    assert stacked([np.array(2.0)], 0).tolist() == [2.0]


def predictions(*pairs):
    return [Prediction(str(i), text, odds, (Guess(text, 0.0, 1.0),)) for i, (text, odds) in enumerate(pairs)]


def test_the_threshold_is_the_one_with_the_best_f1_and_a_set_without_null_has_none():
    found = predictions(("old boat", -1.0), ("tree", 0.5), ("light", 2.0), ("sea", -3.0))
    references = [["boat"], ["tree"], [], ["river"]]
    values = measured_answers(ENGLISH, found, references, nullable=True)
    by_hand = {
        threshold: np.mean(
            [
                max(word_f1(each.answer(threshold), text) for text in known or [""])
                for each, known in zip(found, references, strict=True)
            ]
        )
        for threshold in (-9, -3, -1, 0.5, 2.0, 9)
    }
    assert values["answer_f1"] == pytest.approx(max(by_hand.values())) == by_hand[values["null_threshold"]]
    assert values["null_threshold"] == 0.5 and values["exact"] == 0.5
    assert values["score"] == pytest.approx((values["exact"] + values["answer_f1"]) / 2)
    assert values["NoAns_f1"] == 1.0 and values["HasAns_exact"] == pytest.approx(1 / 3)
    sure = measured_answers(ENGLISH, found, references, nullable=False)
    assert "null_threshold" not in sure and sure["exact"] == 0.25
    chinese = dataclasses.replace(ENGLISH, metrics=("exact_zh", "answer_f1_zh"))
    values = measured_answers(chinese, predictions(("旧船", 0.0), ("树", 9.0)), [["船"], []], nullable=True)
    assert values["exact_zh"] == 0.5 and values["answer_f1_zh"] == pytest.approx(1 / 3) and "HasAns_f1" not in values


def test_files_are_those_of_the_leaderboard(tmp_path):
    found = predictions(("旧船", -1.0), ("tree", 2.0), ("", math.inf))
    write_found(tmp_path, "dev", found, 1.0)
    read = lambda name: json.loads((tmp_path / name).read_bytes())  # noqa: E731
    assert read("predictions-dev.json") == {"0": "旧船", "1": "", "2": ""}
    assert read("nbest-dev.json")["1"] == [{"text": "tree", "score": 0.0, "probability": 1.0}]
    odds = read("null-odds-dev.json")
    assert odds["1"] == 2.0 and 1e6 < odds["2"] < math.inf
    write_found(tmp_path / "sure", "dev", found[:1], None)
    assert sorted(path.name for path in (tmp_path / "sure").iterdir()) == ["nbest-dev.json", "predictions-dev.json"]


def test_the_majority_is_the_most_frequent_answer_or_choice_of_training():
    sets = dataclasses.replace(SETS["none"], train=SETS["none"].train[:1] * 3)
    assert sets.train[0].impossible
    empty = sum(not known for known in references_of(sets.dev)) / len(sets.dev)
    assert majority(sets)["exact"] == majority(sets)["answer_f1"] == pytest.approx(empty)
    labels = [each.label for each in SETS["choose"].train]
    common = max(set(labels), key=labels.count)
    assert majority(SETS["choose"])["accuracy"] == np.mean([each.label == common for each in SETS["choose"].dev])


# Files.


def written(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def squad(*questions):
    qas = [
        {"id": each.name, "question": each.question, "is_impossible": each.impossible}
        | {"answers": [{"text": answer.text, "answer_start": answer.start} for answer in each.answers]}
        for each in questions
    ]
    paragraphs = [{"context": each.context, "qas": [qa]} for each, qa in zip(questions, qas, strict=True)]
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


def test_wrong_offsets_are_told_by_id_and_not_learned_and_the_language_chooses_the_metrics(tmp_path):
    wrong = dataclasses.replace(QUESTIONS[0], name="moved", answers=(Answer("Ann Lee", 15),))
    folder, told = written(tmp_path, train__json=squad(wrong, *QUESTIONS), dev__json=squad(wrong, QUESTIONS[0])), []
    sets = open_sets("extraction", folder, Layout(), told.append)
    assert [each.name for each in sets.train] == ["en", "zh", "none"] and [each.name for each in sets.dev] == [
        "moved",
        "en",
    ]
    assert len(told) == 2 and all("question moved of " in line for line in told)
    assert told[0].endswith("the question is left out.") and sets.task.metrics == ("exact", "answer_f1")
    assert references_of(sets.dev) == [["Ann Lee"], ["Ann Lee"]] and sets.texts == 2
    written(tmp_path, dev__json=squad(QUESTIONS[1]))
    for name, metric in (("extraction", "exact_zh"), ("cmrc2018", "exact_zh"), ("squad", "exact")):
        assert open_sets(name, folder, Layout(), told.append).task.metrics[0] == metric
    with pytest.raises(InputError, match="--text and --label: SQuAD's JSON has no columns"):
        open_sets("squad", folder, Layout(label="x"), told.append)
    written(tmp_path, dev__json=squad(dataclasses.replace(QUESTIONS[0], answers=())))
    with pytest.raises(InputError, match="its dev set has no labels"):
        open_sets("squad", folder, Layout(), told.append)


def test_choices_are_read_by_name_by_number_and_as_published(tmp_path):
    table = "label,b,a,context\n1,two,one,so\n0,two,one,or\n"
    written(tmp_path, train__csv=table, dev__csv=table)
    sets = open_sets("choice", tmp_path, Layout(("context", "a", "b"), "label"), print)
    assert [(each.context, each.endings, each.label) for each in sets.dev] == [
        ("so", ("one", "two"), 1),
        ("or", ("one", "two"), 0),
    ]
    assert (sets.labels, sets.task.metrics, sets.texts) == (("0", "1"), ("accuracy",), 2)
    with pytest.raises(InputError, match=r"--text and --label: name the columns of the context and of its endings"):
        open_sets("choice", tmp_path, Layout(("context", "a"), "label"), print)
    with pytest.raises(InputError, match="the columns of this task are known"):
        open_sets("codah", tmp_path, Layout(label="label"), print)
    swag = "sent1,sent2,ending0,ending1,ending2,ending3,label\nA boat.,It,sank.,flew.,sang.,ran.,0\n"
    written(tmp_path, train__csv=swag, val__csv=swag)
    assert open_sets("swag", tmp_path, Layout(), print).dev[0].endings[:2] == ("It sank.", "It flew.")


@pytest.mark.parametrize(
    ("folder", "task", "layout", "sizes"),
    [
        ("codah", "codah", Layout(), (1665, 556)),
        ("policyqa", "squad", Layout(train="dev.json", dev="test.json"), (3809, 4152)),
    ],
)
def test_real_tasks_are_read_whole(real_data, folder, task, layout, sizes):
    sets = open_sets(task, real_data / folder, layout, print)
    assert (len(sets.train), len(sets.dev)) == sizes


def test_real_windows_hold_their_answers_at_the_exact_characters(real_data):
    questions = read_questions(real_data / "cmrc2018/cmrc2018_trial.json", training=True, report=lambda line: None)[
        ::40
    ]
    data = TaskData(task="t", length=384, max_answer=384)
    made = encode_questions(questions, tasks.TOKENIZER, XLNET, data, training=True)
    for row, places, (first, last), window in zip(made.rows, made.places, made.span, made.asked.windows, strict=True):
        text = tasks.TOKENIZER.decode(row.tokens[places[first : last + 1]])
        assert text == questions[window.passage].answers[0].text.strip(), "spaces around an answer are not taught"
    assert len(questions) == 25 and len({window.passage for window in made.asked.windows}) >= 20


# From start to end.


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for name, sets in SETS.items():
        monkeypatch.setitem(sources.SOURCES, name, lambda folder, layout, report, sets=sets: sets)


QUICK = {"data.batch_size": "8", "data.shortest": "32", "data.doc_stride": "20", "data.length": "64"}
GIVEN = {"objective.ends": "given_start", "objective.beams": "3"}


def recipe(workdir, task, epochs, fields=()):
    fields = {**QUICK, **dict(fields)}
    if task == "choose":
        fields |= {"data.length": "24", "data.shortest": "72"}
    else:
        fields |= {"data.shortest": "64"}
    return Recipe(open_pretrained(workdir, "latest"), SETS[task], fields=[*fields.items()], epochs=epochs)


def run_of(own):
    experiment = experiment_of(own, "pretrained", 1e-2, 0)
    return build_task_run(own, experiment, *(encoded(own, name, experiment.data) for name in ("train", "dev")))


@pytest.mark.parametrize(
    ("family", "task", "fields"),
    [
        ("bert", "choose", {}),
        ("gpt", "none", GIVEN),
        ("xlnet", "which", GIVEN),
    ],
)
def test_what_is_chosen_and_answered_is_learned(tmp_path, family, task, fields):
    own = recipe(
        tasks.pretrained(family), task, 12, {"training.eval_every": "999", "training.save_every": "999", **fields}
    )
    run = run_of(own)
    with commands.quick():
        programs = run.programs()
        result = train(run, tmp_path / "run", params=start_of(own, run), programs=programs)
    chance = majority(run.sets)["score"]
    assert result.held_out["score"] > max(0.8, chance + 0.3), result.held_out
    used = {run.train.batch(step).tokens.shape[1] for step in range(run.experiment.optimizer.total_steps)}
    assert programs.step._cache_size() == len(used) <= len(run.experiment.data.buckets)


@pytest.mark.parametrize("family", ["gpt", "xlnet"])
def test_every_family_learns_to_choose(family):
    own = recipe(tasks.pretrained(family), "choose", 12)
    run = run_of(own)
    with commands.quick():
        programs, right = run.programs(), []
        state = programs.start(start_of(own, run))
        for step in range(60):
            state, record = programs.step(state, run.train.batch(step), 0)
            right.append(record["accuracy"])
    chosen = [mean.value() for mean in right[-10:] if isinstance(mean, Mean)]
    assert len(chosen) == 10 and np.mean(chosen) > 0.9 and programs.step._cache_size() == 1


def test_the_command_answers_writes_what_leaderboards_read_and_goes_on_where_it_was(tmp_path):
    given = [
        f"--workdir={tasks.pretrained('bert')}",
        "--task=none",
        "--data=there",
        "--seeds=1",
        "--epochs=6",
        "--rates=1e-2",
    ]
    given += [*(f"--config.{name}={value}" for name, value in QUICK.items()), "--nofrom_scratch"]
    folder = tmp_path / "none"
    given.append(f"--output={folder}")
    done = commands.run("finetune.py", *given)
    assert done.code == 0, done.err
    found = json.loads((folder / "results.json").read_text())
    (trial,) = found["trials"]
    assert f"windows: {len(encode_all('train'))} to learn from" in done.out
    own = folder / "pretrained" / "rate-0.01" / "seed-0"
    assert trial["answer_f1"] > found["majority"]["answer_f1"]
    for name, key in (("dev", "answer_f1"), ("more", "more/answer_f1")):
        answers = json.loads((own / f"predictions-{name}.json").read_text())
        questions = SETS["none"].named[name]
        assert list(answers) == [each.name for each in questions]
        scores = [
            max(word_f1(answers[each.name], text) for text in ([a.text for a in each.answers] or [""]))
            for each in questions
        ]
        assert trial[key] == pytest.approx(np.mean(scores))
        odds, best = (json.loads((own / f"{kind}-{name}.json").read_text()) for kind in ("null-odds", "nbest"))
        for question, text in answers.items():
            first = next(guess["text"] for guess in best[question] if guess["text"])
            assert text == ("" if odds[question] > trial["null_threshold"] else first), "by the dev set's threshold"
    before = commands.records(own)
    again = commands.run("finetune.py", *given)
    assert again.code == 0 and commands.records(own) == before, "no step is made twice"
    assert json.loads((folder / "results.json").read_text()) == found
    other = commands.run("finetune.py", *given, "--config.objective.ends=given_start")
    assert "holds another experiment: objective.ends is alone there and given_start here" in other.sentence


def encode_all(name):
    own = recipe(tasks.pretrained("bert"), "none", 1)
    return encode(
        own, getattr(own.sets, name), experiment_of(own, "pretrained", 1e-2, 0).data, training=name == "train"
    )


def test_rows_of_questions_are_as_long_as_the_model_reads_and_epochs_count_windows():
    for family, length in (("bert", 64), ("xlnet", 384)):
        own = Recipe(
            open_pretrained(tasks.pretrained(family), "latest"), SETS["none"], fields=[("data.batch_size", "8")]
        )
        experiment = experiment_of(own, "scratch", 1e-2, 0)
        data = experiment.data
        assert (data.length, data.window_step, data.nullable) == (length, -(-length // 3), True)
        rows = len(encoded(own, "train", data))
        assert experiment.optimizer.total_steps == 3 * -(-rows // 8) and rows == len(
            encode(own, own.sets.train, data, training=True)
        )
        assert isinstance(experiment.objective, Extraction) and experiment.objective.ends == "alone"
        assert experiment.training.eval_every == -(-rows // 8)
    for field in ("data.nullable", "data.choices"):
        with pytest.raises(InputError, match="said by the flags of this command, or by the data"):
            experiment_of(dataclasses.replace(own, fields=[(field, "1")]), "scratch", 1e-2, 0)
    choices = experiment_of(recipe(tasks.pretrained("bert"), "choose", 1), "scratch", 1e-2, 0).data
    assert (choices.choices, choices.outputs, choices.buckets) == (3, 1, (72,))
