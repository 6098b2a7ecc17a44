"""Files of tasks: tables, GLUE's folders, CoNLL columns, SQuAD's JSON and multiple choice, read without a tokenizer.

Every reader returns values of `finetuning.examples`, reads `.gz` like the file in it, and names the file and the line
in what it refuses (`batch.InputError`).
"""
