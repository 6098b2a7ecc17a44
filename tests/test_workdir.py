"""What makes two runs the same run."""

import json

import commands
from training.build import build_run
from training.workdir import check_identity, claim


def test_a_run_from_before_a_field_existed_goes_on_with_the_default(tmp_path):
    config = commands.write_config(tmp_path)
    experiment = commands.experiment(config, "gpt")
    prepared = build_run(experiment, lambda line: None).prepared
    claim(tmp_path / "run", experiment, prepared)
    file = tmp_path / "run/experiment.json"
    values = json.loads(file.read_text())
    for part in ("experiment", "identity"):
        del values[part]["model"]["gated"], values[part]["optimizer"]["layer_decay"]
    file.write_text(json.dumps(values))
    check_identity(tmp_path / "run", experiment, prepared)
    claim(tmp_path / "run", experiment, prepared)
