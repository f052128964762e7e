"""The command line, invoked in this process or as users do."""

import re
import subprocess
import sys

from typer.testing import CliRunner

from tadan.cli.main import app


def run(*arguments, code=0, stdin=None):
    """Invoke the command in this process; the result's ``output`` is what both streams show."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def fails(*arguments, message):
    """Invoke a command that must fail with ``message`` (a regular expression) on standard error and nothing more."""
    result = run(*arguments, code=2)
    assert re.search(message, result.stderr), result.stderr
    return result


def command(*arguments, stdout_to=subprocess.PIPE, **options):
    """Start the command as users do, in its own process."""
    line = [sys.executable, "-m", "tadan", *map(str, arguments)]
    return subprocess.run(line, stdout=stdout_to, stderr=subprocess.PIPE, timeout=60, check=False, **options)
