"""The bug museum: bugs of other implementations, each put into ours, and the test that finds it.

`python -m tests.museum` prints the table, which docs/museum.md shows. An exhibit is named as the function of
`mutants.py` that makes the wrong code of ours; `injection.py` runs the test with it.
"""

import dataclasses

GITHUB = "https://github.com"
SLIP = "an easy slip; no public report known to us"


@dataclasses.dataclass(frozen=True)
class Exhibit:
    name: str
    what: str
    where: str  # a public thread or released code, in Markdown
    ours: str  # the function that is replaced
    killer: str  # the test that fails with it, by an assertion


def thread(repository: str, *numbers: int) -> str:
    """Links to issues and pull requests of one repository; the site redirects from one kind to the other."""
    links = ", ".join(f"[#{number}]({GITHUB}/{repository}/issues/{number})" for number in numbers)
    return f"{repository} {links}"


def code(repository: str) -> str:
    """A link to released code in which the bug can be read."""
    return f"the code of [{repository}]({GITHUB}/{repository})"


EXHIBITS = (
    Exhibit(
        "query_sees_its_own_token",
        "Content and query stream are taken for each other: the query attends to the token that it predicts.",
        thread("huggingface/transformers", 711) + ", in review",
        "models.visibility.visible",
        "test_xlnet.py::test_the_content_stream_sees_its_own_token_and_the_query_stream_does_not",
    ),
    Exhibit(
        "packed_documents_see_each_other",
        "Documents packed into one window attend across their boundary.",
        thread("karpathy/nanoGPT", 231, 280),
        "models.visibility.visible",
        "test_invariants.py::test_packed_documents_equal_each_alone[gpt-causal]",
    ),
    Exhibit(
        "blind_query_sees_everything",
        "Hidden positions get a large negative number: a query that may see nothing attends to all that is hidden.",
        f"{code('zihangdai/xlnet')} (-1e30), {code('google-research/bert')} (-10000)",
        "models.attention.attend",
        "test_probability.py::test_permutation_lm_is_a_distribution_for_every_order[no memory-0]",
    ),
    Exhibit(
        "shift_drops_the_last_row",
        "The relative shift drops the last row of the skewed scores instead of the first.",
        thread("labmlai/annotated_deep_learning_paper_implementations", 185),
        "models.shift.relative_shift",
        "test_relative.py::test_the_shift_equals_a_gather_by_distance",
    ),
    Exhibit(
        "distances_in_bfloat16",
        "Distances are counted in bfloat16, where those beyond 256 coincide.",
        code("zihangdai/xlnet"),
        "models.relative.sinusoids",
        "test_relative.py::test_every_distance_of_the_published_sizes_is_its_own",
    ),
    Exhibit(
        "direction_by_place_in_the_batch",
        "The second half of the rows on a device is taken for reversed text, whatever it is.",
        code("zihangdai/xlnet"),
        "objectives.base.show",
        "test_invariants.py::test_what_is_hidden_depends_neither_on_the_batch_nor_on_the_place_in_it[causal]",
    ),
    Exhibit(
        "memory_is_never_forgotten",
        "The memory runs on where the text does not: over the end of the corpus and into the next epoch.",
        code("zihangdai/xlnet"),
        "models.memory.forget",
        "test_memory.py::test_a_row_that_starts_afresh_forgets_and_no_other_does[zeros]",
    ),
    Exhibit(
        "memory_keeps_the_end_of_the_window",
        "The memory keeps the last R positions of the window; the next window goes on after the first R.",
        SLIP,
        "models.memory.remember",
        "test_memory.py::test_memory_holds_the_layer_inputs_of_the_tokens_just_left_of_the_window",
    ),
    Exhibit(
        "memory_keeps_the_oldest",
        "[:M] for [-M:]: once it is full, the memory never changes again.",
        SLIP,
        "models.memory.remember",
        "test_memory.py::test_memory_holds_the_layer_inputs_of_the_tokens_just_left_of_the_window",
    ),
    Exhibit(
        "gradient_flows_into_the_memory",
        "The stop_gradient of the memory is missing.",
        SLIP,
        "models.memory.remember",
        "test_memory.py::test_no_gradient_enters_the_memory",
    ),
    Exhibit(
        "specials_are_hidden",
        "[CLS] and [SEP] are masked and predicted like words.",
        f"{thread('huggingface/transformers', 1395)}; {thread('AnswerDotAI/ModernBERT', 212)}",
        "objectives.base.eligible",
        "test_masked.py::test_too_few_eligible_tokens_are_all_targets",
    ),
    Exhibit(
        "padding_is_hidden",
        "Padding is masked and predicted.",
        thread("huggingface/transformers", 11155),
        "objectives.base.eligible",
        "test_masked.py::test_tiny_rows_have_the_targets_they_can_have[token]",
    ),
    Exhibit(
        "and_for_or",
        "Tokens count as special only if they are padding and special at once: all the others take part.",
        thread("huggingface/transformers", 6812, 8409),
        "objectives.base.eligible",
        "test_permutation.py::test_tiny_rows_have_the_targets_they_can_have[token]",
    ),
    Exhibit(
        "earlier_targets_are_masked",
        "Permutation language modeling masks its targets in the content: a later one cannot see an earlier one.",
        thread("huggingface/transformers", 22435),
        "objectives.permutation.PermutationLm.prepare",
        "test_leaks.py::test_an_earlier_target_changes_the_later_ones[xlnet-permutation]",
    ),
    Exhibit(
        "a_tenth_of_the_rest_is_random",
        "80/2/18: a tenth of what is not [MASK] is replaced at random, instead of half of it.",
        thread("huggingface/transformers", 32329),
        "objectives.masked.MaskedLm.hide",
        "test_masked.py::test_targets_are_shown_as_mask_random_and_unchanged_within_the_binomial_bounds",
    ),
    Exhibit(
        "nothing_is_shown_as_mask",
        "p < 0.8 p, with one p for whether and how: every target is shown as it is.",
        thread("codertimo/BERT-pytorch", 29),
        "objectives.masked.MaskedLm.hide",
        "test_masked.py::test_targets_are_shown_as_mask_random_and_unchanged_within_the_binomial_bounds",
    ),
    Exhibit(
        "each_piece_of_a_word_draws_alone",
        "Whole words are hidden, but each piece is shown as [MASK], random or itself on its own.",
        thread("google-research/bert", 910),
        "objectives.masked.MaskedLm.hide",
        "test_masked.py::test_corrupt_unit_draws_once_for_all_words_of_a_span",
    ),
    Exhibit(
        "every_character_is_a_word",
        "Words are told by `##`, which Chinese does not have: whole-word masking hides single characters.",
        thread("google-research/bert", 780),
        "objectives.sampling.find_words",
        "test_masked.py::test_word_numbers_decide_so_that_chinese_characters_or_segmented_words_are_words",
    ),
    Exhibit(
        "words_are_counted_in_pieces",
        "An n-gram of words ends after n pieces, within a word.",
        thread("zihangdai/xlnet", 16, 220),
        "objectives.sampling.sample_ngrams",
        "test_permutation.py::test_ngrams_of_whole_words_are_unions_of_whole_words",
    ),
    Exhibit(
        "draws_that_tie",
        "Positions are sorted by random integers, whose ties favor the front of the row.",
        code("JonasGeiping/cramming"),
        "objectives.sampling._priorities",
        "test_sampling.py::test_every_subset_of_eligible_tokens_is_equally_likely",
    ),
    Exhibit(
        "label_0_is_dropped",
        "labels > 0 tells targets from padding: the token of id 0 is never learned.",
        code("huggingface/transformers") + ", run_mlm_flax.py",
        "objectives.base.token_loss",
        "test_masked.py::test_a_label_of_id_0_counts_like_any_other",
    ),
    Exhibit(
        "loss_over_all_slots",
        "The loss is divided by the number of slots, padding included, instead of the number of targets.",
        code("microsoft/MPNet"),
        "objectives.base.scale",
        "test_invariants.py::test_each_loss_is_divided_by_its_own_weight_in_the_whole_batch[masked]",
    ),
    Exhibit(
        "mean_of_the_means_of_microbatches",
        "Each microbatch takes its own mean, whatever its number of targets.",
        thread("huggingface/transformers", 34191),
        "training.step.accumulated",
        "test_invariants.py::test_microbatches_change_nothing[gpt]",
    ),
    Exhibit(
        "evaluation_hides_nothing",
        "Evaluation shows the text unmasked: a perplexity near 1.",
        thread("huggingface/transformers", 1633),
        "training.heldout.make_eval_step",
        "test_heldout.py::test_held_out_text_is_hidden_as_the_objective_hides_it",
    ),
    Exhibit(
        "each_evaluation_hides_anew",
        "Each evaluation draws other masks, so that two losses differ although the model is the same.",
        f"{code('huggingface/transformers')}, run_mlm_flax.py; the remedy: {thread('facebookresearch/XLM', 151)}",
        "training.keys.held_out_key",
        "test_heldout.py::test_two_evaluations_hide_the_same[bert]",
    ),
    Exhibit(
        "bias_is_corrected",
        "Adam corrects its bias, which BERT's and XLNet's does not: other rates for the first thousand steps.",
        thread("google-research/bert", 153),
        "training.optimizer.adam_without_correction",
        "test_optimizer.py::test_the_first_update_without_correction_is_larger_by_the_known_factor",
    ),
    Exhibit(
        "norms_are_decayed",
        "The names excluded from weight decay are not those of the norms, whose scales shrink.",
        thread("huggingface/transformers", 4360),
        "training.optimizer.decayed",
        "test_optimizer.py::test_exactly_biases_and_norm_scales_are_not_decayed",
    ),
    Exhibit(
        "each_parameter_is_clipped_alone",
        "The norm that is clipped is each parameter's own, not that of the whole gradient.",
        f"{thread('huggingface/transformers', 581)}; {thread('NVIDIA/DeepLearningExamples', 287)}",
        "training.optimizer.make_optimizer",
        "test_optimizer.py::test_three_steps_equal_the_arithmetic[0.5-plain]",
    ),
    Exhibit(
        "step_stands_still",
        "The step that the schedule reads never advances.",
        thread("zihangdai/xlnet", 164),
        "training.schedule.learning_rate",
        "test_optimizer.py::test_cosine_and_linear_are_halfway_in_the_middle",
    ),
    Exhibit(
        "layers_decay_by_gradient",
        "Layer-wise decay multiplies gradients, which Adam divides by their own size.",
        code("zihangdai/xlnet"),
        "training.optimizer.make_optimizer",
        "test_optimizer.py::test_layer_decay_of_the_rate_slows_the_layers_and_of_the_gradient_only_where_epsilon_is_felt",
    ),
    Exhibit(
        "tanh_for_erf",
        "One form of GELU is taken for the other.",
        f"{thread('CyberZHG/keras-bert', 129)}; {thread('karpathy/nanoGPT', 274)}",
        "models.layers.ACTIVATIONS",
        "test_bert.py::test_activations_and_norms_have_the_numbers_of_the_release",
    ),
    Exhibit(
        "labels_of_pairs_are_exchanged",
        "1 is taken for 'B follows A'; in BERT it means random.",
        thread("huggingface/transformers", 524, 836),
        "data.pairs._next_pair",
        "test_pairs.py::test_chunks_cover_each_document_once_when_no_b_is_random",
    ),
    Exhibit(
        "random_b_from_the_same_document",
        "A 'random' B comes from the document of A, and may even follow it.",
        thread("NVIDIA/DeepLearningExamples", 421),
        "data.pairs._next_pair",
        "test_pairs.py::test_the_vocabulary_of_b_tells_random_pairs_but_not_swapped_ones",
    ),
    Exhibit(
        "windows_with_replacement",
        "Windows are drawn at random with replacement: there are no epochs, and some text is never read.",
        thread("karpathy/nanoGPT", 294),
        "data.windows.shuffled",
        "test_windows.py::test_an_epoch_of_windows_reads_no_token_twice_and_drops_less_than_a_batch_and_a_window",
    ),
    Exhibit(
        "resumed_run_reads_from_the_start",
        "A resumed run draws the same batches again as when it began.",
        thread("karpathy/nanoGPT", 467),
        "training.prefetch.prefetch",
        "test_loop.py::test_a_resumed_run_reads_on_where_its_checkpoint_was_written",
    ),
    Exhibit(
        "ids_are_not_checked",
        "Ids beyond the vocabulary are looked up unchecked, and training ends in NaN.",
        thread("google-research/bert", 82, 354),
        "data.rows.check_ids",
        "test_windows.py::test_a_token_id_that_the_vocabulary_lacks_is_refused",
    ),
)


def table() -> str:
    """The exhibits as a Markdown table."""
    head = ["| bug | where | ours | found by |", "|---|---|---|---|"]
    rows = [f"| {e.what} | {e.where} | `{e.ours}` | `{e.killer}` |" for e in EXHIBITS]
    return "\n".join(head + rows)


if __name__ == "__main__":
    print(table())
