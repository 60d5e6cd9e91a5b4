"""Talking to HashiCorp Vault and OpenBao: what sources, targets and keys share.

``client.Vault`` is all that an adapter needs: one pooled client a process, tokens kept
alive in one place, retries, pace and redirects. It knows HTTP and logins, and no secrets.
"""
