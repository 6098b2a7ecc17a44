"""The command line: `--config=configs/xlnet_tiny.py --config.model.num_layers=4` becomes an experiment."""

import difflib
import importlib.util
import inspect
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from logging import ERROR, LogRecord
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from absl import app, flags, logging

from batch import InputError
from data.remote import check_local
from training.config import Experiment
from training.interrupt import Interrupted
from training.overrides import override
from training.pages import keep_pages
from training.processes import is_first

Value = TypeVar("Value")

FOLDERS = ("workdir", "from", "output", "to_hf")
"""The flags that name folders of ours, whichever command has them."""

_HELP = "path.py[:argument], a file that defines get_config([argument]) -> Experiment; --config.FIELD=VALUE changes it"


def run(main: Callable[[Experiment], int | None]) -> None:
    """Runs `main(experiment)` of a command that takes --config. Exits with main's code, 0 for None.

    An InputError and a wrong flag become one line on stderr and exit code 1, a run that was asked to stop says how to
    resume it and exits with 0, Ctrl-C elsewhere becomes the word `interrupted`; other exceptions keep their traceback.
    """
    if "config" not in flags.FLAGS:
        flags.DEFINE_string("config", None, _HELP, module_name=sys.argv[0])  # the command's own, so --help lists it
    _run(main, _parse_with_experiment)


def run_command(main: Callable[[], int | None]) -> None:
    """Runs `main()` of a command that takes no --config; as `run` in all else."""
    _run(lambda _: main(), _parse_flags)


def run_with_fields(main: Callable[[list[tuple[str, str]]], int | None]) -> None:
    """Runs `main(fields)` of a command that finds its experiment itself, and may be told --config.FIELD=VALUE."""
    _run(main, _parse_with_fields)


def parse_experiment(arguments: Sequence[str]) -> Experiment:
    """The experiment that `--config=PATH[:ARGUMENT]` and `--config.FIELD=VALUE` describe; the last of each wins.

    Raises InputError on any other argument, and on whatever `load` and `override` refuse.
    """
    assigned, rest = split_arguments(arguments)
    if rest:
        raise InputError(f"{rest[0]}: unexpected argument; set fields with --config.FIELD=VALUE.")
    files = [text for name, text in assigned if name == "config"]
    if not files:
        raise InputError("--config: missing; name an experiment, as in --config=configs/xlnet_tiny.py.")
    fields = [(name.removeprefix("config."), text) for name, text in assigned if name != "config"]
    return override(load(files[-1]), fields)


def split_arguments(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The (name, value) pairs of --config and --config.*, and every other argument, in order.

    Raises InputError on a field without a value.
    """
    assigned: list[tuple[str, str]] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, has_value, text = argument.lstrip("-").partition("=")
        if argument == "--":  # what follows is no flag, whatever it looks like
            return assigned, [*rest, argument, *remaining]
        if not argument.startswith("-") or (name != "config" and not name.startswith("config.")):
            rest.append(argument)
            continue
        if not has_value:
            text = next(remaining, "--")
        if not has_value and text.startswith("--"):
            raise InputError(f"--{name}: has no value; write --{name}=VALUE.")
        assigned.append((name, text))
    return assigned, rest


def load(spec: str) -> Experiment:
    """The experiment that `get_config` of a Python file returns; `spec` is `path.py` or `path.py:argument`.

    Raises InputError where there is no such file, the file fails, or it does not return an Experiment.
    """
    return load_value("config", spec, "get_config", Experiment)


def load_value(flag: str, spec: str, function: str, kind: type[Value]) -> Value:
    """What a function of a Python file returns, which must be of a kind; `flag` is what named the file."""
    stem, has_argument, argument = spec.partition(".py:")
    path = Path(f"{stem}.py") if has_argument else Path(spec)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")], 1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "give the path of a Python file."
        raise InputError(f"--{flag}={spec}: no such file; {hint}")
    arguments = [argument] if has_argument else []
    try:
        found = getattr(_execute(path), function, None)
        if found is None:
            raise InputError(f"--{flag}={spec}: the file has no function {function}; define one.")
        _check_arguments(f"--{flag}={spec}", found, arguments)
        value = found(*arguments)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(f"{_where(path, error)}{type(error).__name__}: {error}".split())
        raise InputError(f"--{flag}={spec}: {reason}.") from error
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InputError(
            f"--{flag}={spec}: {function} returned {type(value).__name__}; return {article} {kind.__name__}."
        )
    return value


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_file", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--config={path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses defined in the file look their module up
    spec.loader.exec_module(module)
    return module


def _check_arguments(given: str, function: Callable[..., Any], arguments: list[str]) -> None:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        remedy = "remove the :argument" if arguments else "write path.py:argument"
        takes = "takes no argument" if arguments else "needs an argument"
        raise InputError(f"{given}: {function.__name__} {takes}; {remedy}.") from None


def _where(path: Path, error: Exception) -> str:
    """The last line of the config file that the error passed through, as `line 7: `."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f"line {lines[-1]}: " if lines else ""


def _parse_with_experiment(argv: Sequence[str]) -> Experiment:
    expanded = flags.FLAGS.read_flags_from_files(list(argv[1:]))  # --flagfile may hold fields too
    assigned, rest = split_arguments(expanded)
    _parse_flags([argv[0], *rest])
    return parse_experiment([f"--{name}={text}" for name, text in assigned])


def _parse_with_fields(argv: Sequence[str]) -> list[tuple[str, str]]:
    assigned, rest = split_arguments(flags.FLAGS.read_flags_from_files(list(argv[1:])))
    _parse_flags([argv[0], *rest])
    if any(name == "config" for name, _ in assigned):
        raise InputError("--config: this command makes its own experiment; change a field with --config.FIELD=VALUE.")
    return [(name.removeprefix("config."), text) for name, text in assigned]


def _parse_flags(argv: Sequence[str]) -> None:
    stray = flags.FLAGS(list(argv))[1:]
    if stray:
        raise InputError(f"{stray[0]}: unexpected argument; flags begin with two dashes.")
    for name in set(FOLDERS) & set(flags.FLAGS):
        given = flags.FLAGS[name].value or []
        for folder in [given] if isinstance(given, str) else given:
            check_local(f"--{name}", folder)
    if flags.FLAGS["verbosity"].using_default_value:
        flags.FLAGS.verbosity = logging.WARNING  # absl.app would show the INFO messages of every library
    logging.get_absl_logger().addFilter(_is_not_raised_too)


def _is_not_raised_too(record: LogRecord) -> bool:
    """Whether a message is not Orbax's, of an error: those it raises as well, and we make a sentence of them."""
    return record.levelno < ERROR or "orbax" not in Path(record.pathname).parts


def _die_of_interrupt() -> None:
    """Ends the process by the signal itself, so that a shell's loop ends too.

    Nothing is taken down: what a run must keep is closed by now, and JAX can crash in the interpreter's own exit after
    an interrupted compilation.
    """
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


def _printable(text: str) -> str:
    """One line that only prints: what was handed in may hold line ends, or commands to a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _run(main: Callable[[Any], int | None], parse: Callable[[Sequence[str]], Any]) -> None:
    def guarded(action: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(argument):
            try:
                return action(argument)
            except (InputError, flags.Error) as error:
                print(f"error: {_printable(str(error))}", file=sys.stderr)
                sys.exit(1)
            except Interrupted as stopped:
                if is_first():
                    print(f"{stopped}\nresume with: {shlex.join([sys.orig_argv[0], *sys.argv])}", flush=True)
                sys.exit(0)
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                _die_of_interrupt()

        return call

    keep_pages()
    app.run(guarded(main), flags_parser=guarded(parse))
