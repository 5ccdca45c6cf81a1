"""What hostile code may try, as lists to read: a name, the attempt, and what the run says of it.

``jail.py`` tries to leave the jail, ``door.py`` to misuse the socket, ``diff.py`` to bring in an
edit that isn't what it looks like.  The tests of the same names make every attempt for real.
"""

import textwrap


def program(source: str, tools: str = "", host: str = "{}") -> str:
    """A harness that tries ``source``, the body of a function, and says what that returned.

    ``host`` is JSON with what there is to get.  Afterwards it goes on as an honest one.
    """
    body = textwrap.indent(textwrap.dedent(source).strip(), "    ")
    return (
        f"{tools}\nHOST = json.loads({host!r})\n"
        f"def attack():\n{body}\n"
        "try:\n    got = attack()\nexcept Exception as e:\n"
        "    say('refused', type(e).__name__, str(e)[:200])\nelse:\n"
        "    got is None or say('got', str(got)[:200])\n"
        "evaluate()\ncall('submit', result=result())\n"
    )
