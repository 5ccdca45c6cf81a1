"""Edits that aren't what they look like: by a tree, the implementer's tools, a patch, a repository,
or by code that runs as soon as it is looked at.

``why`` is what the refusal has to say.
"""

from dataclasses import dataclass
from typing import Any

PARENT = {
    "harness.py": b"print('go')\n",
    "client.py": b"FIXED = 1\n",
    "prompts/challenger.md": "Write a question.\nBe naïve.\n".encode(),
}  # with client.py fixed and all else editable


@dataclass(frozen=True)
class Change:
    """Files that differ from ``PARENT``; ``None`` is a deleted one."""

    name: str
    files: dict[str, bytes | None]
    why: str


@dataclass(frozen=True)
class Call:
    """A call of one of the implementer's tools; arguments as text aren't JSON of ours."""

    name: str
    tool: str
    arguments: Any
    why: str


@dataclass(frozen=True)
class Patch:
    """A unified diff, as ``git apply`` would take it."""

    name: str
    text: str
    why: str


@dataclass(frozen=True)
class Entry:
    """An entry of the top folder in a crafted repository; git fetches it as it is."""

    name: str
    entry: bytes
    mode: bytes
    why: str


@dataclass(frozen=True)
class Source:
    """A ``harness.py`` that is at its work before anybody has read it."""

    name: str
    code: str
    why: str


def _added(name: str, path: str, why: str, content: bytes = b"") -> Change:
    return Change(name, {path: content}, why)


PATHS = [
    _added("up and out", "a/../../b", "'..' component"),
    _added("an absolute path", "/etc/cron.d/x", "not relative"),
    _added("an empty component", "a//b", "empty"),
    _added("a backslash", "a\\..\\..\\b", "backslash"),
    _added("a NUL", "a\0.md", "control"),
    _added("a line feed", "a\nb.md", "control"),
    _added("an escape sequence", "\x1b[2Ja.md", "control"),
    _added("a zero-width space", "a\u200b.md", "format"),
    _added("text from right to left", "a\u202edm.yp", "format"),
    _added("a private character", "a\ue000.md", "control, format or unassigned"),
    _added("a filler that isn't shown", "client\u3164.py", "isn't plain"),
    _added("a joiner that isn't shown", "client\u034f.py", "isn't plain"),
    _added("a full-width name", "\uff43lient.py", "isn't plain"),
    _added("a Cyrillic name", "\u0441lient.py", "isn't plain"),
    _added("a trailing dot", "client.py.", "isn't plain"),
    _added("a trailing space", "client.py ", "isn't plain"),
    _added("a leading space", " client.py", "isn't plain"),
    _added("an option for a name", "-rf", "isn't plain"),
    _added("a glob for a name", "*.py", "isn't plain"),
    _added("a stream of a file", "client.py:x", "isn't plain"),
    _added("a file that isn't listed", ".hidden.py", "isn't plain"),
    _added("a repository", ".git/hooks/post-checkout", "git treats"),
    _added("a repository on a Mac", ".GIT/config", "git treats"),
    _added("a repository on Windows", "git~1/config", "git treats"),
    _added("attributes", "sub/.gitattributes", "git treats", b"* filter=x\n"),
    _added("submodules", ".gitmodules", "git treats"),
    _added("a name of 201 bytes", "x" * 201, "longer than 200 bytes"),
    _added("a twin in another case", "Prompts/more.md", "differ only in case"),
    _added("a twin of the entry", "HARNESS.py", "differ only in case"),
    Change("twins in Unicode", {"é": b"", "e\u0301": b""}, "Unicode form"),
    _added("a folder that is a file", "harness.py/x", "under a path that is a file"),
    _added("bytecode", "__pycache__/client.cpython-311.pyc", "compiled code"),
    _added("bytecode in another case", "__PyCache__/x", "compiled code"),
    _added("bytecode in the open", "tools.pyc", "compiled code"),
    _added("a library", "client.cpython-311-x86_64-linux-gnu.so", "compiled code"),
    _added("code at every start", "sitecustomize.py", "nobody imports"),
    _added("code by a path file", "x.pth", "nobody imports", b"import os; os.abort()\n"),
    _added("a package before the client", "client/__init__.py", "in place of client.py"),
    _added("a module before the library's", "json.py", "in place of the standard library's json"),
]
CONTENTS = [
    Change("another client", {"client.py": b"FIXED = 2\n"}, "is a fixed file"),
    Change("no client", {"client.py": None}, "is a fixed file"),
    Change(
        "a client that moved",
        {"client.py": None, "lib/client.py": b"FIXED = 1\n"},
        "is a fixed file",
    ),
    Change("no entry", {"harness.py": None}, "entry file is missing"),
    _added("bytes", "a.bin", "not UTF-8", b"\xff"),
    _added("a picture", "a.png", "not UTF-8", b"\x89PNG\r\n\x1a\n"),
    _added("a NUL in a text", "a.txt", "U+0000", b"\0"),
    _added("a giant file", "big", "200001 bytes", b"x" * 200_001),
    Change("giant files", {f"f{i}": b"x" * 190_000 for i in range(6)}, "in all files"),
    Change("many files", {f"f{i}": b"" for i in range(100)}, "103 files"),
    _added("code that reads backwards", "a.py", "U+202E", "x = 1  # \u202e tpircs\n".encode()),
    _added("code behind a carriage return", "a.py", "U+000D", b"import os\r# a comment\n"),
    _added("an escape sequence in a text", "a.md", "U+001B", b"\x1b[8mhidden\x1b[0m\n"),
    _added("a word to models alone", "prompts/a.md", "U+E0041", "Hi\U000e0041\n".encode()),
    _added("bytes in an emoji", "prompts/a.md", "U+E0100", "☺\U000e0100\n".encode()),
    _added("code in another encoding", "a.py", "an encoding other", b"# coding: utf-7\n#+AAo-x\n"),
    _added("code in escapes", "a.py", "an encoding other", b"# coding: unicode_escape\n"),
    _added("code in no encoding", "a.py", "an encoding other", b"# coding: none\n"),
]
CHANGES = [*PATHS, *CONTENTS]


def _write(name: str, path: str, why: str) -> Call:
    return Call(name, "write_file", {"path": path, "content": ""}, why)


CALLS = [
    Call("edits the client", "replace", {"path": "client.py", "old": "1", "new": "2"},
         "except /client.py"),
    Call("deletes the client", "delete_file", {"path": "client.py"}, "may not be changed"),
    _write("writes the client", "client.py", "may not be changed"),
    _write("goes up", "../evil.py", "'..' component"),
    _write("goes round", "prompts/../client.py", "'..' component"),
    _write("goes to the root", "/etc/passwd", "not relative"),
    _write("makes a hook", ".GIT/hooks/x", "git treats as its own"),
    _write("plants bytecode", "__pycache__/client.cpython-311.pyc", "compiled code"),
    _write("names nothing", "", "empty"),
    _write("names with a NUL", "a\0b", "control"),
    Call("writes a number", "write_file", {"path": "a", "content": 5}, "content: "),
    Call("writes half a character", "write_file", '{"path": "a", "content": "\\ud800"}',
         "Invalid JSON"),
    Call("deletes what isn't there", "delete_file", {"path": "none.md"}, "no such file"),
    Call("reads what isn't there", "read_file", {"path": "/etc/passwd"}, "no such file"),
    Call("reads from before the start", "read_file", {"path": "client.py", "offset": -1}, "offset"),
    Call("replaces what isn't there", "replace",
         {"path": "harness.py", "old": "absent", "new": ""}, "does not occur"),
    Call("replaces nothing", "replace", {"path": "harness.py", "old": "", "new": ""},
         "does not occur"),
    Call("replaces at large", "replace",
         {"path": "prompts/challenger.md", "old": "e", "new": ""}, "more than once"),
    Call("a pattern without end", "search", {"pattern": "((.|\\w)+)+#"}, "took too long"),
    Call("a pattern too long", "search", {"pattern": "(" * 201}, "longer than 200"),
    Call("a pattern that is none", "search", {"pattern": "("}, "not a regular expression"),
    Call("a pattern of four billion", "search", {"pattern": "x{4294967295}"}, "not a regular"),
]  # fmt: skip

NEW = """\
diff --git a/{path} b/{path}
new file mode {mode}
--- /dev/null
+++ b/{path}
@@ -0,0 +1 @@
+{text}
"""
BINARY = """\
diff --git a/{path} b/{path}
new file mode 100644
index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391
GIT binary patch
literal 0
HcmV?d00001

literal 0
HcmV?d00001

"""
OCTAL = """\
diff --git "a/\\056\\056/out.md" "b/\\056\\056/out.md"
new file mode 100644
--- /dev/null
+++ "b/\\056\\056/out.md"
@@ -0,0 +1 @@
+x
"""
RETYPED = """\
diff --git a/harness.py b/harness.py
old mode 100644
new mode 120000
"""


def _new(name: str, path: str, why: str, mode: str = "100644", text: str = "x") -> Patch:
    return Patch(name, NEW.format(path=path, mode=mode, text=text), why)


PATCHES = [
    _new("a link", "link", "has mode 120000", "120000", "/etc/passwd"),
    _new("a submodule", "sub", "has mode 160000|doesn't apply", "160000", "x" * 40),
    _new("up and out", "../out.md", "doesn't apply"),
    Patch("up and out in octal", OCTAL, "doesn't apply"),
    _new("an absolute path", "/etc/out.md", "doesn't apply"),
    _new("a hook", ".git/hooks/post-checkout", "doesn't apply", "100755"),
    _new("a repository on a Mac", ".GIT/config", "doesn't apply"),
    _new("a file that is there", "harness.py", "doesn't apply"),
    _new("attributes", ".gitattributes", "git treats", text="* filter=x"),
    _new("submodules", ".gitmodules", "git treats"),
    _new("bytecode", "__pycache__/client.cpython-311.pyc", "compiled code"),
    _new("a full-width name", "\uff43lient.py", "isn't plain"),
    Patch("a library", BINARY.format(path="client.so"), "compiled code"),
    Patch("a link in the entry's place", RETYPED, "has mode 120000|doesn't apply"),
    Patch("half a hunk", RETYPED + "@@ -1,9 +1,9 @@\n print('go')\n", "doesn't apply"),
]

ENTRIES = [
    Entry("a folder that is the one above", b"..", b"40000", "would lead out|can't be fetched"),
    Entry("an absolute path", b"/ABROAD", b"100644", "would lead out|can't be fetched"),
    Entry("a way up in a name", b"a/../../x", b"100644", "would lead out|can't be fetched"),
    Entry("this folder", b".", b"100644", "would lead out|can't be fetched"),
    Entry("a repository", b".git", b"40000", "would lead out|can't be fetched"),
    Entry("a repository on a Mac", b".GIT", b"40000", "would lead out|can't be fetched"),
    Entry("a link", b"link", b"120000", "has mode 120000"),
    Entry("a submodule", b"sub", b"160000", "has mode 160000|can't be fetched"),
    Entry("a file that is a folder too", b"evil", b"100644", "under a path that is a file"),
]

SOURCES = [
    Source("reads the run", "raise OSError(open(HOST).read())", "FileNotFoundError"),
    Source("writes beside itself", "open('/harness/client.py', 'a').write('#')", "Read-only"),
    Source("starts another", "import os; os.fork()", "PermissionError"),
    Source("never ends", "while True: pass", "crashed"),
    Source("sleeps", "import time; time.sleep(60)", "timed_out"),
    Source("takes all memory", "x = bytearray(1 << 30)", "MemoryError"),
    Source("ends well at once", "raise SystemExit(0)", "no_result"),
    Source("floods", "import os\nwhile True: os.write(FD, b'junk\\n' * 100)", "junk"),
    Source("brackets without end", "(" * 100_000, "doesn't compile"),
    Source("signs without end", "x = " + "-" * 100_000 + "1", "doesn't compile"),
    Source("brings the compiler down", "x = " + "(lambda: " * 9_000 + "1" + ")" * 9_000,
           "doesn't compile"),
    Source("no Python", "Dear reader,", "doesn't compile"),
]  # fmt: skip
