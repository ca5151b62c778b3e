"""The `cxstream` command: one file per subcommand, each imported only when it is called."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from cxstream.cli.interrupts import BY_SIGNAL, interruptible
from cxstream.logs.printable import printable
from cxstream.model.errors import CxstreamError

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
# Imports make 150,000 objects that stay. To look for garbage among them as often as Python does takes a tenth of a short command.
_COLLECT_AFTER = (50_000, 10, 10)

COMMANDS = {
    "replay": "Score touchpoint files without a broker.",
    "convert": "Turn other data into touchpoint files.",
    "simulate": "Realistic traffic with ground truth, to a topic or a file.",
    "demo": "Run the whole system on this computer.",
    "broker": "A local Apache Kafka for development.",
    "topics": "Create and check the topics.",
    "validate": "Check touchpoint records before they are sent.",
    "produce": "Send touchpoint files to Kafka.",
    "change": "Record a change of the experience, to compare before and after.",
    "forget": "Erase customers.",
    "worker": "Score touchpoints from Kafka.",
    "rules": "Show, check and change the rules that customers are judged by.",
    "rejected": "Look at rejected records and send them again.",
    "customer": "One customer: score card, what leads to its churn risk, what the worker holds.",
    "view": "Where experience is made and lost, from the read model.",
    "insights": "Places that left their own range, from the read model.",
    "serve": "The console: pages over the read model, in a browser.",
    "clients": "Tokens of programs that use the API of the console.",
    "sentiment": "Language and sentiment of texts, and the phrases that decided.",
    "train": "Fit models of purchases to your own history, as rules.",
    "assign": "Say who is treated and who is held out in an experiment.",
    "evaluate": "Whether acting on customers helped, and what it brought.",
    "keys": "Make the key that control records are signed with.",
    "warehouse": "Scored touchpoints, score cards and signals in a file, for views and BI.",
    "sink": "Score cards, signals and daily aggregates in PostgreSQL.",
    "plan": "What an installation needs: cores, memory, brokers, disk and money.",
    "doctor": "Check an installation, and say what to do.",
    "schemas": "Write the JSON Schemas and the AsyncAPI document.",
}


class _Lazy(click.Group):
    """A group whose commands are modules of this package, loaded on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cxstream.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        with interruptible():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cxstream")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="Settings file (TOML). Default: $CXSTREAM_CONFIG, else ~/.config/cxstream/cxstream.toml, if there is one.",
)
@click.pass_context
def group(ctx: click.Context, config: str | None) -> None:
    """Find out, as it happens, which customers are having a hard time and are about to leave.

    \b
    Example:
      cxstream demo
      cxstream replay touchpoints.ndjson --out result
    """  # noqa: D301
    ctx.obj = config


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 on success, 1 with an error message of one line, 130 or 143 after a signal."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        status = group.main(argv, prog_name="cxstream", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
    except CxstreamError as error:
        click.echo(f"cxstream: {printable(str(error), lines=True)}", err=True)
        raise SystemExit(1) from error
    except (KeyboardInterrupt, click.Abort) as error:
        # While the command line was read.
        raise SystemExit(BY_SIGNAL + signal.SIGINT) from error
    except BrokenPipeError as error:
        # The reader of the output has gone; without this, Python reports it again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        # As above, for output that did not fit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"cxstream: {where}cannot write: {error.strerror}", err=True)
        raise SystemExit(1) from error
    finally:
        gc.set_threshold(*before)
    raise SystemExit(status if isinstance(status, int) else 0)
