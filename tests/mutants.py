"""The bugs of `museum.py`, each as a function that takes ours and returns the wrong one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

# Who sees whom


def query_sees_its_own_token(visible):
    return lambda *seen, strict, **options: visible(*seen, strict=strict & False, **options)


def packed_documents_see_each_other(visible):
    def wrong(inputs, *seen, **options):
        return visible(inputs.replace(document=jnp.minimum(inputs.document, 1)), *seen, **options)

    return wrong


def blind_query_sees_everything(attend):
    def wrong(scores, mask, value, **options):
        return attend(jnp.where(mask, scores, scores - 1e4), jnp.ones_like(mask), value, **options)

    return wrong


# Positions and memory


def shift_drops_the_last_row(relative_shift):
    def wrong(x, num_keys):
        batch, heads, length, distances = x.shape
        skewed = x.reshape(batch, heads, distances, length)[:, :, :-1]
        return skewed.reshape(batch, heads, length, distances - 1)[..., :num_keys]

    return wrong


def distances_in_bfloat16(sinusoids):
    def wrong(farthest, nearest, dim, *_):
        distance = jnp.arange(farthest, nearest - 1, -1, jnp.bfloat16).astype(jnp.float32)
        angle = distance[:, None] / 10_000.0 ** (jnp.arange(0, dim, 2, jnp.float32) / dim)[None]
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)

    return wrong


def direction_by_place_in_the_batch(show):
    def wrong(batch, **fields):
        inputs = show(batch, **fields)
        size = len(inputs.tokens)
        return inputs.replace(direction=jnp.where(jnp.arange(size) < size // 2, 1, -1))

    return wrong


def memory_is_never_forgotten(forget):
    return lambda memory, fresh, **options: memory


def memory_keeps_the_end_of_the_window(remember):
    return lambda past, present, reuse: remember(past, present[:, -(reuse or 0) :], None)


def memory_keeps_the_oldest(remember):
    return lambda past, present, reuse: jnp.concatenate([past, present[:, :reuse]], axis=1)[:, : past.shape[1]]


def gradient_flows_into_the_memory(remember):
    return lambda past, present, reuse: jnp.concatenate([past, present[:, :reuse]], axis=1)[:, -past.shape[1] :]


# What is hidden


def specials_are_hidden(eligible):
    return lambda batch, vocab: jnp.asarray(batch.document) != 0


def padding_is_hidden(eligible):
    return lambda batch, vocab: eligible(batch, vocab) | (jnp.asarray(batch.document) == 0)


def and_for_or(eligible):
    return lambda batch, vocab: (jnp.asarray(batch.document) != 0) | ~jnp.asarray(vocab.is_special)[batch.tokens]


def earlier_targets_are_masked(prepare):
    def wrong(self, batch, vocab, key):
        inputs, targets = prepare(self, batch, vocab, key)
        at = jnp.where(targets.weights > 0, inputs.predict, inputs.tokens.shape[1])  # out of bounds: dropped
        rows = jnp.arange(len(inputs.tokens))[:, None]
        return inputs.replace(tokens=inputs.tokens.at[rows, at].set(vocab.mask, mode="drop")), targets

    return wrong


def a_tenth_of_the_rest_is_random(hide):
    return lambda self, *row: hide(dataclasses.replace(self, random_share=0.1 * (1 - self.mask_share)), *row)


def nothing_is_shown_as_mask(hide):
    return lambda self, *row: hide(dataclasses.replace(self, mask_share=0.0, random_share=0.0), *row)


def each_piece_of_a_word_draws_alone(hide):
    return lambda self, *row: hide(dataclasses.replace(self, corrupt="token"), *row)


def every_character_is_a_word(find_words):
    return lambda word, eligible: find_words(jnp.arange(len(word)), eligible)


def words_are_counted_in_pieces(sample_ngrams):
    return lambda *values, unit: sample_ngrams(*values, unit="piece")


def draws_that_tie(priorities):
    def wrong(key, length, eligible):
        return jnp.where(eligible, jax.random.randint(key, (length,), 0, length), length)

    return wrong


# Loss and evaluation


def label_0_is_dropped(token_loss):
    def wrong(model, output, targets):
        return token_loss(model, output, targets.replace(weights=targets.weights * (targets.labels > 0)))

    return wrong


def loss_over_all_slots(scale):
    return lambda coefficient, weights: jnp.asarray(coefficient / weights.size)


def mean_of_the_means_of_microbatches(accumulated):
    def wrong(descend, parts):
        def in_parts(params, inputs, targets, memory, key):
            def own_mean(params, inputs, part, memory, key):
                gradients, means, memory = descend(params, inputs, part, memory, key)
                factor = targets.weights.sum() / (parts * jnp.maximum(part.weights.sum(), 1))
                return jax.tree.map(lambda g: factor * g, gradients), means, memory

            return accumulated(own_mean, parts)(params, inputs, targets, memory, key)

        return in_parts

    return wrong


def evaluation_hides_nothing(make_eval_step):
    def wrong(model, objective, vocab, surprise):
        class Unmasked(type(objective)):
            def prepare(self, batch, vocab, key):
                inputs, targets = super().prepare(batch, vocab, key)
                return inputs.replace(tokens=jnp.asarray(batch.tokens)), targets

        return make_eval_step(model, Unmasked(**vars(objective)), vocab, surprise)

    return wrong


def each_evaluation_hides_anew(held_out_key):
    return lambda: jax.random.fold_in(held_out_key(), np.random.randint(2**31))


# Optimizer


def bias_is_corrected(adam_without_correction):
    return optax.scale_by_adam


def norms_are_decayed(decayed):
    return lambda path: path[-1].key != "bias"


def each_parameter_is_clipped_alone(make_optimizer):
    def wrong(config):
        def clip(updates, _):
            return jax.tree.map(lambda g: g * jnp.minimum(1.0, config.clip / optax.tree.norm(g)), updates)

        return optax.chain(optax.stateless(clip), make_optimizer(dataclasses.replace(config, clip=0.0)))

    return wrong


def step_stands_still(learning_rate):
    return lambda config, step: learning_rate(config, 0)


def layers_decay_by_gradient(make_optimizer):
    return lambda config: make_optimizer(dataclasses.replace(config, layer_decay_of="gradient"))


# Models and data


def tanh_for_erf(activations):
    return {**activations, "gelu": activations["gelu_tanh"]}


def labels_of_pairs_are_exchanged(next_pair):
    def wrong(*values):
        pair, following = next_pair(*values)
        return pair._replace(label=1 - pair.label), following

    return wrong


def random_b_from_the_same_document(next_pair):
    def wrong(documents, chunk, target, rng):
        pair, following = next_pair(documents, chunk, target, rng)
        b_start, b_stop = documents.span(chunk.document, chunk.begin, chunk.stop)
        return (pair._replace(b_start=b_start, b_stop=b_stop) if pair.label else pair), following

    return wrong


def windows_with_replacement(shuffled):
    return lambda seed, epoch, count: np.random.default_rng([seed, epoch]).integers(0, count, count, dtype=np.int32)


def resumed_run_reads_from_the_start(prefetch):
    return lambda make, steps: prefetch(make, range(len(steps)))


def ids_are_not_checked(check_ids):
    return lambda tokens, vocab: None
