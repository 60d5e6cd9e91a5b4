"""list and get in the local store, and list in another source."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.store.answers import answer_names, answer_secret, asked_version
from strongroom.cli.shared import access_log, sources
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import Place
from strongroom.model import Secret
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.sources.errors import SecretNotFound
from strongroom.words import did_you_mean


def list_secrets(arguments: Namespace, output: Output) -> None:
    source = sources.source_of(arguments.source, place.find())
    filtered = arguments.filter_tag or arguments.include or arguments.exclude
    nothing = "No secret fits the filter." if filtered else "The store is clean: it holds no secret."
    answer_names(source.list(with_tags=True), arguments, output, nothing=nothing)


def get_secret(arguments: Namespace, output: Output) -> None:
    installation = place.find()
    secret = _secret(arguments.name, installation)
    version = asked_version(secret, arguments, "The store")
    if arguments.show_value:
        access_log.record_access(evidence_access_log.SHOWN, arguments, output, installation)
    answer_secret(secret, version, arguments, output)


def _secret(name: str, installation: Place) -> Secret:
    store = sources.local_store(installation)
    try:
        return store.get(name)
    except SecretNotFound as error:
        hint = did_you_mean(name, (entry.name for entry in store.list())) + error.hint
        raise SecretNotFound(error.message, hint=hint) from None
