"""From a study to its report: what has not been measured is measured, and everything is written."""

import time
from pathlib import Path

from ablation.measure import Measurer
from ablation.results import Results
from ablation.study import Study, results_of
from report.write import write


def publish(study: Study, folder: Path, began: float | None = None) -> Results:
    """Writes the report of a study into a folder, and returns what it says; `began`: by `time.monotonic`."""
    began = time.monotonic() if began is None else began
    shortest = min(experiment.data.length for experiment in study.experiments.values())
    measurer = Measurer(shortest, lambda line: None)
    measurer.measure(study.trials, study.yardsticks)
    results, pictures = results_of(study, measurer, time.monotonic() - began)
    write(results, folder, pictures)
    return results
