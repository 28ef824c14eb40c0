"""`users`: who may log in to the pages."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from actions.accounts import NewLink
    from shared.base.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Say who may log in to the pages, and as what.")
Home = Annotated[
    Path | None,
    typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else the running system's, else ~/.pneumoscreen."),
]
By = Annotated[str | None, typer.Option(help="Who does it; the user's name if left out.")]
Name = Annotated[str, typer.Argument(help="The account's name, in any spelling of capitals.")]


def _settings(home: Path | None) -> "Settings":
    from shared.base import settings, surroundings

    chosen = settings.load(home)
    surroundings.use(chosen.home)
    return chosen


def _do(home: Path | None, deed: "Callable[[Session, datetime], str | NewLink]") -> None:
    """One transaction, with the connection of an admin where one is set; then what came of it."""
    from shared.database import opened_by_admin

    settings = _settings(home)
    with opened_by_admin(settings) as database, database.write() as session:
        done = deed(session, datetime.now(UTC))
    if isinstance(done, str):
        from cli.console import out

        out.print(done, markup=False)
    else:
        print_link(settings, done)


def print_link(settings: "Settings", link: "NewLink") -> None:
    from cli.console import out
    from queries.web_address import address_of

    out.print(f"{link.name} ({link.role}) chooses a password here, once, until {link.expires_at:%Y-%m-%d %H:%M} UTC:")
    out.print(f"{address_of(settings)}{link.path}", markup=False)


@app.command("add", epilog="Example: pneumoscreen users add 'Dr. Okafor' --role senior")
def add(
    name: Annotated[str, typer.Argument(help="As it shall stand beside each word of this reader.")],
    home: Home = None,
    role: Annotated[
        str, typer.Option(help="reader; senior, who decides between two words; admin, who also looks after accounts.")
    ] = "reader",
    by: By = None,
) -> None:
    """Add an account, and print the link by which its owner chooses a password."""
    from actions import accounts, actor

    chosen, who = accounts.parse_role(role), actor.named_or_user(by)
    _do(home, lambda session, now: accounts.add(session, name, chosen, who, now))


@app.command("reset", epilog="Example: pneumoscreen users reset 'Dr. Okafor'")
def reset(name: Name, home: Home = None, by: By = None) -> None:
    """Print a link by which the account's owner chooses the password anew; it also ends a lock-out."""
    from actions import accounts, actor

    who = actor.named_or_user(by)
    _do(home, lambda session, now: accounts.reset(session, name, who, now))


@app.command("role", epilog="Example: pneumoscreen users role 'Dr. Okafor' senior")
def role(
    name: Name,
    role: Annotated[str, typer.Argument(help="reader, senior or admin.")],
    home: Home = None,
    by: By = None,
) -> None:
    """Change what an account may do; words that were given keep the role of their day."""
    from actions import accounts, actor

    chosen, who = accounts.parse_role(role), actor.named_or_user(by)
    _do(home, lambda session, now: f"{accounts.set_role(session, name, chosen, who, now)} is {chosen} now.")


@app.command("disable", epilog="Example: pneumoscreen users disable 'Dr. Okafor'")
def disable(name: Name, home: Home = None, by: By = None) -> None:
    """Log an account out everywhere, and let it in no more; its words stay."""
    from actions import accounts, actor

    who = actor.named_or_user(by)
    _do(home, lambda session, now: f"{accounts.disable(session, name, who, now)} is disabled.")


@app.command("enable", epilog="Example: pneumoscreen users enable 'Dr. Okafor'")
def enable(name: Name, home: Home = None, by: By = None) -> None:
    """Let an account in again that was disabled."""
    from actions import accounts, actor

    who = actor.named_or_user(by)
    _do(home, lambda session, now: f"{accounts.enable(session, name, who, now)} may log in again.")


@app.command("list", epilog="Example: pneumoscreen users list")
def list_users(home: Home = None) -> None:
    """Every account, what it may do, and when it was last seen."""
    from cli.console import table
    from queries.accounts import list_accounts
    from shared.database import opened_by_admin

    with opened_by_admin(_settings(home)) as database, database.read() as session:
        found = list_accounts(session, datetime.now(UTC))
    rows = [
        (
            each.name,
            each.role,
            each.state,
            f"{each.last_seen_at:%Y-%m-%d %H:%M}" if each.last_seen_at else "never",
            f"{each.created_at:%Y-%m-%d %H:%M} by {each.created_by}",
        )
        for each in found
    ]
    table(("name", "role", "state", "last seen (UTC)", "made (UTC)"), rows)
