"""What cannot be done, said in one line; it imports nothing, so that a program can refuse at once."""

from __future__ import annotations

LONGEST = 600  # letters of a message


class UserError(Exception):
    """What was asked cannot be done. Its message is one line for a person; binaries exit with status 2.

    What a flag or a file brings into it (line breaks, control characters of a terminal, names of any length) is made
    harmless here, once.

    Args:
      message: what was asked, what is wrong, what to do.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


# What moves a cursor, colours a terminal or turns the direction of writing: all of C0 and C1 but tabs and line ends.
_CONTROL = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], " "
)


def printable(text: str) -> str:
    """Puts a space in place of each control character but tabs and line ends: a name that is chosen is only shown."""
    return text if text.isprintable() else text.translate(_CONTROL)


def one_line(text: str, most: int = LONGEST) -> str:
    """Puts ``text`` on one line: what cannot be printed becomes a space, and the middle goes where it is too long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return line if len(line) <= most else f"{line[: 2 * most // 3]} ... {line[5 - most // 3 :]}"
