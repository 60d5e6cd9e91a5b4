"""cluster init, token and certify: what is done where the installation key is."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import msgspec

from strongroom.alert_kinds import KINDS
from strongroom.cli.commands.cluster.arguments import BeginCluster, CertifyHosts, MakeToken
from strongroom.cli.shared import access_log
from strongroom.cli.shared.installation_key import given_key
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line
from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import hostlist, joining, rolelist, roles
from strongroom.keys.errors import TokenRefused
from strongroom.keys.joining import JoinRequest
from strongroom.model import ApprovalAction
from strongroom.operations.engine import membership
from strongroom.operations.engine.membership import CertifiedHost, RefusedRequest
from strongroom.sheet import Lines, Sheet
from strongroom.system import files
from strongroom.times import for_people


def begin_cluster(given: BeginCluster, output: Output) -> Answer:
    settings, folder = load_settings(), place.find().role_keys
    require_shared(settings)
    name = hostlist.check_name(given.name or rolelist.this_host(folder) or socket.gethostname())
    _say_stage_missing(settings, output)
    store = run_store()
    certifier = given_key(given.certifier, folder, output)
    number = membership.begin(
        folder, store, name=name, wanted=given.role or roles.ROLES, installation_key=certifier
    )
    mine = hostlist.roles_of(folder).get(name, ())
    store.event("cluster.begun", host=name, roles=list(mine), list=number)
    lines = [
        f"It has the keys of: {', '.join(mine)}. Host list {number} is signed and in the state database.",
        "For each host that is to join, say what works there, here:",
        "  strongroom cluster token --role seal --for 1h",
    ]
    record = {
        "host": name,
        "roles": mine,
        "list": number,
        "installation": roles.installation_fingerprint(folder),
    }
    return Answer(record=record, sheet=Sheet(verdict=f"This host is '{name}'.", parts=[Lines(lines)]))


def require_shared(settings: Settings) -> None:
    """Refuse what other hosts cannot reach. Raises ConfigError."""
    if settings.state.url is None or settings.state.url.startswith("sqlite"):
        raise ConfigError(
            "the state database is a file of this host, which no other host reaches",
            hint="Several hosts need PostgreSQL: set 'state.url', such as postgresql://strongroom@db/strongroom.",
        )
    if settings.broker.url is None:
        raise ConfigError(
            "the broker is this host's own, which no other host reaches",
            hint="Several hosts need Redis: set 'broker.url', such as rediss://strongroom@redis:6380/0.",
        )


def _say_stage_missing(settings: Settings, output: Output) -> None:
    """Say before there are several hosts what the judge would say once they work."""
    if settings.stages and not any(settings.unshared_policies()):
        return
    kind = KINDS["stage.unshared"]
    output.note("note: There is no [stages.default], so the stage is a folder of each host.")
    output.note(f"  {kind.means}")
    output.note(f"  {kind.do}")


def make_token(given: MakeToken, output: Output) -> Answer:
    settings, found = load_settings(), place.find()
    require_shared(settings)
    membership.require_begun(found.role_keys)
    _say_stage_missing(settings, output)
    granted = tuple(sorted(set(given.role)))
    access_log.require_approved(
        found,
        ApprovalAction.SIGNERS,
        {"action": "token", "what": granted},
        lines=(f"let another host join with the roles {', '.join(granted)}",),
    )
    text = found.file.read_text(encoding="utf-8") if found.file else ""
    store = run_store()
    membership.exchange(found.role_keys, store)
    token = membership.make_token(
        found.role_keys,
        store,
        granted=granted,
        seconds=given.seconds,
        database=_without_password(settings.database_url),
        configuration=membership.shared_text(text),
    )
    ends = datetime.fromtimestamp(token.expires, UTC).isoformat(timespec="seconds")
    store.event("cluster.token-made", token=token.id, roles=list(granted), expires=ends)
    waits = (
        "A process that runs on this host certifies it; without one: strongroom cluster certify"
        if roles.can_certify(found.role_keys)
        else "The installation key is offline: the next host writes a request, which you certify with\n"
        "  strongroom cluster certify --installation-key FILE"
    )
    lines = [f"It grants {', '.join(granted)}, once, until {for_people(token.expires)}. On the next host:"]
    return Answer(
        record={"token": token.text(), "id": token.id, "roles": granted, "expires": ends},
        sheet=Sheet(
            parts=[
                Lines(lines),
                Lines([f"  strongroom cluster join {token.text()}"]),
                Lines([*waits.split("\n")]),
            ]
        ),
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}"))


def certify_hosts(given: CertifyHosts, output: Output) -> Answer:
    folder = place.find().role_keys
    certifier = given_key(given.certifier, folder, output)
    if given.request is not None:
        return _certify_file(given, output)
    membership.require_begun(folder)
    store = run_store()
    membership.exchange(folder, store)
    done, refused = membership.certify_waiting(folder, store, installation_key=certifier, late=given.late)
    for host in done:
        store.event("cluster.certified", host=host.host, keys=dict(host.keys), token=host.token)
    for request in refused:
        store.event("cluster.refused", host=request.host, token=request.token, why=request.why)
    return _certified(done, refused)


def _certify_file(given: CertifyHosts, output: Output) -> Answer:
    assert given.request is not None
    folder = place.find().role_keys
    try:
        request = msgspec.json.decode(given.request.read_bytes(), type=JoinRequest)
    except (OSError, msgspec.DecodeError):
        raise UsageError(
            f"'{given.request}' is no request.", hint="It is the file that 'strongroom cluster join' wrote."
        ) from None
    asked = ", ".join(sorted(request.keys))
    access_log.require_approved(
        place.find(),
        ApprovalAction.SIGNERS,
        {"action": "certify", "what": [request.host, *sorted(request.keys.values())]},
        lines=(f"certify host {in_line(request.host)} for the roles {asked}",),
    )
    digits = joining.check_digits(request)
    output.note(f"The request's check digits are {digits}. Compare them with those that 'join' showed there.")
    prompts.confirm(f"Host '{in_line(request.host)}' gets keys of the roles {asked}", force=given.force)
    certifier = given_key(given.certifier, folder, output)
    done = membership.certify_request(folder, request, installation_key=certifier, by_hand=True)
    answer = _certified([done], [])
    if given.to is None:
        return answer
    files.write_whole(given.to, membership.answer_file(folder))
    return answer.joined(
        Answer(
            record={"answer": given.to},
            sheet=Sheet(
                parts=[
                    Lines(
                        [
                            f"The answer is in {given.to}. On that host:",
                            f"  strongroom cluster join --answer {given.to.name}",
                        ]
                    )
                ]
            ),
        )
    )


def _certified(done: list[CertifiedHost], refused: list[RefusedRequest]) -> Answer:
    lines = [
        f"{host.host}: {role} is certified: {fingerprint}"
        for host in done
        for role, fingerprint in host.keys.items()
    ]
    lines += [f"{in_line(request.host)} is refused: {request.why}. {request.hint}" for request in refused]
    error = None
    if refused:
        error = TokenRefused("Not every request was certified.", hint="Each says why, above.")
    return Answer(
        record={"certified": done, "refused": refused},
        sheet=Sheet(parts=[Lines(lines or ["No host waits for a certificate."])]),
        error=error,
    )
