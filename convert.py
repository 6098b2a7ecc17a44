"""Turns a Hugging Face checkpoint into a workdir, and a workdir into a Hugging Face checkpoint.

python convert.py --from_hf=DIR --workdir=runs/bert
python convert.py --to_hf=DIR --workdir=runs/bert
"""

import shutil
import tempfile
from pathlib import Path

from absl import flags

from batch import InputError
from data.prepare import make_cache
from interop.exporting import export
from interop.importing import import_folder
from training import flags as command_line
from training.checkpoint import Checkpoints
from training.restored import stored_params
from training.workdir import claim_imported, stored_experiment, stored_tokenizer

WORKDIR = flags.DEFINE_string("workdir", None, "folder of a run: written by --from_hf, read by --to_hf")
FROM_HF = flags.DEFINE_string("from_hf", None, "folder of a Hugging Face checkpoint to read")
TO_HF = flags.DEFINE_string("to_hf", None, "folder of a Hugging Face checkpoint to write; must be new or empty")
STEP = flags.DEFINE_string("step", "latest", "which checkpoint --to_hf takes: latest, best, or a step")
ALLOW_MISSING = flags.DEFINE_list(
    "allow_missing", [], "tensors that --from_hf may lack, or leave unread, as names or patterns such as 'cls.*'"
)


def main(fields: list[tuple[str, str]]) -> None:
    if not WORKDIR.value:
        raise InputError("--workdir: missing; name the folder of a run, as in --workdir=runs/bert.")
    if bool(FROM_HF.value) == bool(TO_HF.value):
        raise InputError("--from_hf, --to_hf: give one of them, with the folder of a Hugging Face checkpoint.")
    if FROM_HF.value:
        from_hf(Path(FROM_HF.value), Path(WORKDIR.value), fields)
    elif TO_HF.value:
        if fields:
            raise InputError(f"--config.{fields[0][0]}: an export takes a run as it is; leave the field out.")
        to_hf(Path(WORKDIR.value), Path(TO_HF.value))


def from_hf(folder: Path, workdir: Path, fields: list[tuple[str, str]]) -> None:
    found = import_folder(folder, fields, allow=ALLOW_MISSING.value)
    for note in found.notes:
        print(f"note: {note}")
    if "data.cache" in dict(fields):
        make_cache(found.experiment.data)
    claim_imported(workdir, found.experiment, found.tokenizer)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(0, {"params": found.params})
    print(f"{workdir}: {found.description}, from {folder}")


def to_hf(workdir: Path, folder: Path) -> None:
    experiment, tokenizer = stored_experiment(workdir), stored_tokenizer(workdir)
    assert tokenizer is not None, "a workdir with an experiment has a tokenizer"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--to_hf={folder}: is there already, and not an empty folder; name a new one.")
    step = Checkpoints(workdir).resolve(STEP.value)
    params = stored_params(workdir, step)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise InputError(f"--to_hf={folder}: cannot be written ({error.strerror}); name another folder.") from error
    try:
        architecture = export(experiment, params, tokenizer, step, building)
        building.chmod(0o755)
        building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(f"{folder}: {architecture} with its tokenizer, from {workdir}, step {step}")


if __name__ == "__main__":
    command_line.run_with_fields(main)
