"""The commands, in rooms by subject.

In each room ``arguments.py`` says what its commands take, and names the function that does the work of each.
The modules beside it do the work. They import what they need at the top, and are loaded after parsing.
"""
