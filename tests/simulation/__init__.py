"""Years in seconds: the real calendar, engine, retention, verification order and alarms in a simulated world.

``year`` says what is real and what is simulated, ``faults`` what goes wrong, ``simulation`` what has to hold
at every moment. docs/explanation/testing.md explains it.
"""
