"""Every edit of ``attacks/diff.py``, by the real gate, tools, repository and smoke run."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attacks.diff import (
    CALLS,
    CHANGES,
    ENTRIES,
    NEW,
    PARENT,
    PATCHES,
    SOURCES,
    Call,
    Change,
    Entry,
    Patch,
    Source,
)
from test_analyzer_implementer import FINISH, REPLACE, Script, edit
from test_repo import foreign, git

from inner_agent.errors import UserError
from inner_agent.settings import Limits
from metaopt.config import Harness
from metaopt.gate import GateRules, gate
from metaopt.repo import HarnessRepo, read_folder
from metaopt.resources import shipped
from metaopt.smoke import Smoke
from metaopt.tree import Tree, unified_diff

RULES = GateRules(editable=("**",), fixed=("/client.py",))
MARK = "a-key-that-no-harness-may-see"


def named(attacks: Any) -> Any:
    """A test for each attempt."""
    return pytest.mark.parametrize("attack", attacks, ids=lambda a: a.name.replace(" ", "-"))


async def not_run(_: Tree) -> list[str]:
    """A smoke run that must not happen."""
    raise AssertionError("a bad tree must not be run")


async def no_problem(_: Tree) -> list[str]:
    """A smoke run that finds nothing."""
    return []


@named(CHANGES)
async def test_the_gate_refuses(attack: Change) -> None:
    files = {**PARENT, **attack.files}
    tree = {path: data for path, data in files.items() if data is not None}
    problems = await gate(tree, PARENT, RULES, not_run)
    assert any(attack.why in p for p in problems), problems
    assert all(p.isprintable() for p in problems)
    assert await gate({**PARENT, "prompts/more.md": b"hi\n"}, PARENT, RULES, no_problem) == []


@named(CALLS)
async def test_the_tools_refuse_and_change_nothing(
    attack: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaopt.tree.SEARCH_SECONDS", 0.5)
    script = Script([(attack.tool, attack.arguments)], [REPLACE, FINISH])
    done = await edit(script)
    assert attack.why in script.told()
    assert unified_diff(PARENT, done.tree).count("@@") == 2  # one hunk: the good edit


@named(PATCHES)
@pytest.mark.parametrize("subdir", ["", "sub dir"], ids=["top", "subdir"])
def test_a_patch_is_refused_whole(attack: Patch, tmp_path: Path, subdir: str) -> None:
    inside = f"{subdir}/" if subdir else ""
    origin = foreign(tmp_path / "origin", {f"{inside}{p}": d for p, d in PARENT.items()})
    config = Harness(repo=str(origin), subdir=subdir)
    with closing(HarnessRepo(tmp_path / "harness.git", config)) as repo:
        good = NEW.format(path="good.md", mode="100644", text="good")
        made = repo.apply(repo.baseline, good.encode(), "good.diff")
        assert repo.read(made) == PARENT | {"good.md": b"good\n"}
        with pytest.raises(UserError, match=attack.why) as caught:
            repo.apply(repo.baseline, (good + attack.text).encode("utf-8"), "bad.diff")
        assert str(caught.value).isprintable()
    (tmp_path / "bad.diff").write_text(attack.text, encoding="utf-8")
    asked = config.model_copy(update={"patch": str(tmp_path / "bad.diff")})
    with pytest.raises(UserError, match=attack.why):
        HarnessRepo(tmp_path / "other.git", asked)


@named(ENTRIES)
def test_a_crafted_repository_does_not_lead_out(attack: Entry, tmp_path: Path) -> None:
    origin = foreign(tmp_path / "origin", {"harness.py": b"", "evil/x": b"evil"})
    abroad = tmp_path / "abroad"
    name = attack.entry.replace(b"/ABROAD", os.fsencode(abroad))
    ids = {b"40000": "HEAD:evil", b"160000": "HEAD"}
    entries = {name: (attack.mode, git(origin, "rev-parse", ids.get(attack.mode, "HEAD:evil/x")))}
    entries |= {b"harness.py": (b"100644", git(origin, "rev-parse", "HEAD:harness.py"))}
    lines = [b"%s %s\0%s" % (m, n, bytes.fromhex(i)) for n, (m, i) in sorted(entries.items())]
    if name == b"evil":
        lines.append(b"40000 evil\0" + bytes.fromhex(git(origin, "rev-parse", "HEAD:evil")))
    words = ("hash-object", "-t", "tree", "-w", "--stdin", "--literally")
    tree = git(origin, *words, stdin=b"".join(lines))
    git(origin, "update-ref", "refs/heads/evil", git(origin, "commit-tree", tree, "-m", "evil"))
    config = Harness(repo=str(origin), ref="evil")
    with pytest.raises(UserError, match=attack.why) as caught:
        HarnessRepo(tmp_path / "harness.git", config)
    assert str(caught.value).isprintable()
    assert not abroad.exists()
    honest = HarnessRepo(tmp_path / "harness.git", Harness(repo=str(origin), ref="main"))
    with closing(honest) as repo:
        assert repo.read(repo.baseline) == {"harness.py": b"", "evil/x": b"evil"}


@pytest.mark.parametrize("key", ["repo", "ref"])
@pytest.mark.parametrize("command", ["--upload-pack=touch {0}; git-upload-pack", "ext::touch {0}"])
def test_a_config_names_no_command(key: str, command: str, tmp_path: Path) -> None:
    origin, ran = foreign(tmp_path / "origin", {"harness.py": b""}), tmp_path / "ran"
    asked = Harness(repo=str(origin)).model_copy(update={key: command.format(ran)})
    with pytest.raises(UserError, match=r"can't be fetched|name a branch"):
        HarnessRepo(tmp_path / "harness.git", asked)
    assert not ran.exists()


def test_a_config_writes_no_ref_of_ours(tmp_path: Path) -> None:
    origin = foreign(tmp_path / "origin", {"harness.py": b""})
    asked = Harness(repo=str(origin), ref="HEAD:refs/heads/baseline")
    with pytest.raises(UserError, match=r"harness\.ref .*: name a branch"):
        HarnessRepo(tmp_path / "harness.git", asked)


@pytest.fixture
async def smoke(tmp_path: Path, bubblewrap: None) -> Any:
    """A real smoke run with short limits."""
    limits = Limits(idle_s=5, cpu_s=1, memory_mb=256)
    made = Smoke("bubblewrap", limits, tmp_path / "smoke")
    yield made
    await made.close()


@named(SOURCES)
async def test_code_that_runs_early_is_jailed(attack: Source, tmp_path: Path, smoke: Any) -> None:
    secret = tmp_path / "run.db"
    secret.write_text(MARK)
    baseline = read_folder(shipped("baseline_harness"))
    tools = f"import os\nHOST = {str(secret)!r}\nFD = int(os.environ['METAOPT_FD'])\n"
    tree = {**baseline, "harness.py": (tools + attack.code + "\n").encode()}
    rules = RULES.model_copy(update={"max_file_bytes": 300_000})
    problems = await gate(tree, baseline, rules, smoke)
    assert any(attack.why in p for p in problems), problems
    assert MARK not in json.dumps(problems)
    assert await gate({**baseline, "new.md": b"x\n"}, baseline, rules, smoke) == []


def test_a_diff_of_any_size_is_made_at_once() -> None:
    """Lines that are all alike in pairs would keep difflib busy for minutes."""
    old, new = ("\n".join(f"{i * k % 199}" for i in range(60_000)) for k in (3, 7))
    shown = unified_diff({"a": old.encode()}, {"a": new.encode()})
    assert shown.count("@@") == 2
    assert len(shown.splitlines()) > 100_000
    part = unified_diff({"a": old.encode()}, {"a": (old + "\nx").encode()})
    assert part.splitlines()[-4:] == [*(f" {i * 3 % 199}" for i in range(59_997, 60_000)), "+x"]
    assert "@@ -59998,3 +59998,4 @@" in part
