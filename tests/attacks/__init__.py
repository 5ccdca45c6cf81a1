"""What hostile code may try, as lists to read: a name, the attempt, and what the run says of it.

``jail.py`` tries to leave the jail, ``door.py`` to misuse the socket, ``diff.py`` to bring in an
edit that isn't what it looks like.  The tests of the same names make every attempt for real.
"""
