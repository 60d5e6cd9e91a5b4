"""Celery tasks of Strongroom: thin. Rebuild what the message refers to, perform it, send what comes next."""
