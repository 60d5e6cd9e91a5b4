"""What Strongroom does, in rooms by subject. None of them dispatches.

``runs`` is the engine. It knows no job by name: each room holds its jobs as values (``backup/job.py``,
``restore/job.py``, ...), and ``jobs.py`` is the table of them. A new job is one module and one line there.
"""
