"""list and get in the local store, and list in another source."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.store.answers import answer_names, answer_secret
from strongroom.cli.shared import options, sources
from strongroom.cli.shared.show_value import ValueHolder
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.model import Secret
from strongroom.sources.errors import SecretNotFound
from strongroom.words import did_you_mean


def list_secrets(arguments: Namespace, output: Output) -> Answer:
    source = sources.source_of(arguments.source, place.find())
    filtered = arguments.filter_tag or arguments.include or arguments.exclude
    nothing = "No secret fits the filter." if filtered else "The store is clean: it holds no secret."
    return answer_names(source.list(with_tags=True), arguments, nothing=nothing)


def get_secret(arguments: Namespace, output: Output) -> Answer | None:
    installation = place.find()
    secret = _secret(arguments.name, installation)
    return answer_secret(
        secret, ValueHolder("the local store", options.LOCAL), arguments, output, installation
    )


def _secret(name: str, installation: InstallationPlace) -> Secret:
    store = sources.local_store(installation)
    try:
        return store.get(name)
    except SecretNotFound as error:
        hint = did_you_mean(name, (entry.name for entry in store.list())) + error.hint
        raise SecretNotFound(error.message, hint=hint) from None
