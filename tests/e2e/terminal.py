"""Talks with `portreeve run` on a terminal, as a person at root's shell does. Fails by an exception."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios


class Talk:
    """A command on a terminal of its own, which is its controlling terminal."""

    def __init__(self, *command, before=(), **streams):
        self.ours, theirs = pty.openpty()
        self.theirs = theirs
        self.name = os.ttyname(theirs)
        self.size(41, 133)
        self.before = termios.tcgetattr(theirs)
        self.said = ""
        take = lambda: (os.setsid(), fcntl.ioctl(theirs, termios.TIOCSCTTY, 0))
        given = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **streams}
        self.child = subprocess.Popen(["portreeve", *before, "run", "bakery/pro", *command], preexec_fn=take, **given)

    def size(self, rows, columns):
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.ours, text.encode())

    def hear(self, pattern):
        """Waits until something matches that was said since what was heard last."""
        while not (found := re.search(pattern, self.said)):
            if not select.select([self.ours], [], [], 30)[0]:
                raise AssertionError(f"not heard: {pattern!r}; said: {self.said!r}; code {self.child.poll()}")
            self.said += os.read(self.ours, 65536).decode()
        self.said = self.said[found.end():]
        return found

    def end(self, code):
        ended = self.child.wait(30)
        assert ended == code, (ended, code, self.said)
        assert termios.tcgetattr(self.theirs) == self.before, "the terminal is not as it was"


def a_python_shell():
    talk = Talk("python", "-i", "-c", "import os, time")
    talk.hear(">>> ")
    talk.type("print('tty', os.ttyname(0), os.getsid(0) == os.getpid(), os.get_terminal_size())\n")
    heard = talk.hear(r"tty (/dev/pts/\d+) (\w+) os.terminal_size\(columns=(\d+), lines=(\d+)\)")
    assert heard.groups() != (talk.name, *heard.groups()[1:]), "root's own terminal was handed out"
    assert heard.groups()[1:] == ("True", "133", "41"), heard
    talk.type("print('sl' + 'eeps'); time.sleep(1000)\n")
    talk.hear("sleeps")
    talk.type("\x03")
    talk.hear("KeyboardInterrupt")
    talk.size(20, 70)
    talk.type("while os.get_terminal_size().columns != 70: time.sleep(0.01)\n\n")
    talk.type("print('re' + 'sized')\n")
    talk.hear("resized")
    talk.type("raise SystemExit(7)\n")
    talk.end(7)


def a_shell_on_another_host():
    talk = Talk("python", "-i", "-c", "import os, time", before=("-H", "localhost"))
    talk.hear(">>> ")
    talk.type("print('size', os.get_terminal_size().columns); print('sl' + 'eeps'); time.sleep(1000)\n")
    talk.hear(r"size 133\b")
    talk.hear("sleeps")
    talk.type("\x03")
    talk.hear("KeyboardInterrupt")
    talk.type("raise SystemExit(7)\n")
    talk.end(7)


def a_shell():
    talk = Talk()
    talk.type("id -un; stty -a | tr -d '\\n' >/dev/tty; echo; exit 5\n")
    talk.hear("foouser")
    talk.hear("isig icanon")
    talk.end(5)


def one_that_is_told_to_end():
    talk = Talk("sh", "-c", "trap 'echo told; exit 3' TERM; echo re''ady; while :; do sleep 0.02; done")
    talk.hear("ready")
    assert termios.tcgetattr(talk.theirs) != talk.before
    talk.child.send_signal(signal.SIGTERM)
    talk.hear("told")
    talk.end(3)


def one_that_is_killed():
    talk = Talk("sh", "-c", "kill -KILL $$")
    talk.end(1)


def a_file_and_a_terminal():
    with open("/tmp/heard", "wb") as file:
        Talk("sh", "-c", "echo one; tty; echo two >&2", stdout=file).end(0)
    with open("/tmp/heard", "rb") as file:
        assert re.fullmatch(rb"one\n/dev/pts/\d+\n", file.read())


def a_pipe_whose_reader_has_the_keyboard():
    talk = Talk("sh", "-c", "cat; echo one; tty", stdout=subprocess.PIPE)
    talk.type("for the reader\n")
    assert talk.child.stdout.read() == b"one\nnot a tty\n"
    talk.end(1)
    assert os.read(talk.theirs, 100) == b"for the reader\n"


def one_without_a_terminal():
    script = "read word; echo $word; tty; sh -c ': </dev/tty' 2>/dev/null || echo none"
    talk = Talk("sh", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, _ = talk.child.communicate(b"one\n", timeout=30)
    assert out == b"one\nnot a tty\nnone\n", out
    talk.end(0)


for case in [a_python_shell, a_shell_on_another_host, a_shell, one_that_is_told_to_end, one_that_is_killed, a_file_and_a_terminal,
             a_pipe_whose_reader_has_the_keyboard, one_without_a_terminal]:
    print(case.__name__, flush=True)
    case()
