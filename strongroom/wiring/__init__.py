"""The one composition root: settings in, a frozen set of services out.

What a process gets depends on its role (least privilege by pool): source credentials and
public recipients for sealing, target credentials for transfer, identities for verifying,
drills and recovery. ``operator`` is a person's own command line, which has all of it.

``services`` puts it together from ``places`` (sources and targets), ``keys`` (recipients and
identities), ``signers`` and ``policies``. A command that needs only one of them imports that.
"""
