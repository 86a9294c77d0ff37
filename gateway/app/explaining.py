"""Policies of now and of then, routes and times, found for those who explain at a command line. Blocking."""

import asyncio
import contextlib
from collections.abc import Iterator

from gateway.app.people import open_accounts
from gateway.app.policies import open_lasting, routes_of
from gateway.app.verifiers import outcome_of
from gateway.changes import store
from gateway.changes.bundle_files import snapshot_of
from gateway.changes.model import ChangeRefused
from gateway.config import Config
from gateway.domain.route import Route
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.lasting.port import Cursor, Lasting
from gateway.policy.compile import compile_bundle, version_of
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import PrincipalFacts, TargetFacts
from gateway.policy.folder import Snapshot, read_folder
from gateway.policy.steps import Outcomes


def snapshot_in_force(config: Config) -> Snapshot:
    """Return what was published last; what is in the folder where nothing was, or where there is no database.

    Raises BundleError (the folder), StoreUnavailable (the database).
    """
    with _database(config) as lasting:
        if lasting is not None:

            def work(cursor: Cursor) -> dict[str, bytes] | None:
                newest = store.newest(cursor)
                return store.bundle_by_content(cursor, newest.content) if newest is not None else None

            files = lasting.read_now(work)
            if files is not None:
                return snapshot_of(files)
    return read_folder(config.policies.dir)


def bundle_of_version(config: Config, version: str) -> Bundle | None:
    """Return the bundle that records name, from the database or, where that is the same, the folder; None: it is not kept."""
    with _database(config) as lasting:
        if lasting is not None:
            try:
                files = lasting.read_now(lambda cursor: store.bundle_by_version(cursor, version))
            except ChangeRefused as refused:
                if refused.why != "gone":
                    raise
            else:
                return bundle_of(snapshot_of(files))
    snapshot = read_folder(config.policies.dir)
    return bundle_of(snapshot) if version_of(snapshot.policies) == version else None


def bundle_of(snapshot: Snapshot) -> Bundle:
    """Compile it; its cases are not run."""
    return compile_bundle(snapshot.policies, snapshot.folder)


@contextlib.contextmanager
def _database(config: Config) -> Iterator[Lasting | None]:
    """The configured database; None for none, and for a file that no gateway has made yet."""
    file = config.policies.database
    lasting = None if config.policies.postgres_url is None and (file is None or not file.exists()) else open_lasting(config)
    try:
        if lasting is not None:
            lasting.prepare(store.PART, store.SCHEMA)
        yield lasting
    finally:
        if lasting is not None:
            lasting.close()


def person_of(config: Config, login: str, clock: Clock) -> PrincipalFacts:
    """Return an account of the embedded provider as policies see it. Raises GatewayError: nobody, or no such provider here."""

    async def work() -> PrincipalFacts:
        async with open_accounts(config, clock) as people:
            user = await people.find(login)
            return PrincipalFacts(id=user.id, roles=tuple(sorted(user.roles)), organization=user.organization)

    return asyncio.run(work())


def target_of(config: Config, route: str) -> TargetFacts:
    """Return a configured route as policies see it. ConfigError, with the routes that there are."""
    routes: dict[str, Route] = {one.id: one for one in routes_of(config)}
    found = routes.get(route)
    if found is None:
        raise ConfigError(f"there is no route {route!a}", where=str(config.file), todo=f"There are: {', '.join(sorted(routes))}")
    return TargetFacts(app=found.app, route=found.id, action=found.action, sensitivity=found.sensitivity, patient="")


def possible_steps(config: Config) -> Outcomes:
    """Return what a remedy can ask for here, of anybody."""
    database = config.policies.database is not None or config.policies.postgres_url is not None
    return Outcomes(proofing=outcome_of(config), grants=database, break_glass=database)
