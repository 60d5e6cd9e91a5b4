"""The Celery side of Strongroom: the app, its pools and queues, signed messages, and the local cluster.

Celery carries, the run record decides. Nothing here knows what a step does.
"""
