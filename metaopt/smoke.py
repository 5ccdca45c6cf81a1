"""A mutant's first run, in the jail, before anybody pays for it.

It must compile, and go through one synthetic paper played by the simulator without crashing,
hanging or handing in nothing.  What it scores there doesn't matter.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from inner_agent import sandbox
from inner_agent.calls import CallStore
from inner_agent.gateway import Gateway
from inner_agent.papers import Paper, PaperText
from inner_agent.run_paper import KILLED, TRIES, Rig, run_paper
from inner_agent.sandbox import Mode, Mount
from inner_agent.settings import INNER_ROLES, InnerConfig, Limits, Model
from inner_agent.simulator import Simulator
from inner_agent.synthetic import generate_papers
from metaopt.repo import write_tree
from metaopt.tree import Tree

ITEMS, CHATS = 2, 24  # a first run needn't be a long one
_COMPILE = """
import sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        compile(file.read(), path, "exec", dont_inherit=True)
"""


class Smoke:
    """``await smoke(tree)`` lists what is wrong with a harness that is about to be evaluated."""

    def __init__(self, mode: Mode, limits: Limits, folder: Path) -> None:
        """The jail and the limits of the run, items and chats cut down; ``folder`` is scratch."""
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        folder.mkdir(parents=True)
        self._folder = folder
        config = _config(limits)
        gateway = Gateway(config, CallStore(":memory:"), {"simulator": Simulator(0)})
        self._rig = Rig(config, gateway, mode, self._folder / "papers")
        self._paper = _paper()

    async def __call__(self, tree: Tree) -> list[str]:
        """Problems as one-line texts; none means that the harness runs."""
        folder = Path(tempfile.mkdtemp(dir=self._folder)) / "harness"
        write_tree(tree, folder)
        try:
            return await self._compile(folder, tree) or await self._run(folder)
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)

    async def close(self) -> None:
        """Remove the scratch folder."""
        await self._rig.gateway.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _compile(self, folder: Path, tree: Tree) -> list[str]:
        """Compile in the jail: the compiler itself can be brought down by hostile source."""
        names = [f"/harness/{p}" for p in sorted(tree) if p.endswith(".py")]
        program = folder.parent / "check.py"
        program.write_text(_COMPILE, encoding="utf-8")
        mounts = [Mount(folder, "/harness"), Mount(program, "/work/check.py")]
        for _ in range(TRIES):
            status, errors = await self._in_jail(["/work/check.py", *names], mounts)
            if status not in KILLED:
                break
        if status == 0:
            return []
        lines = [line.strip() for line in errors.strip().splitlines()]
        where = [x.replace("/harness/", "") for x in lines if x.startswith("File ")][-1:]
        return [f"doesn't compile: {' '.join([*where, *lines[-1:]]) or f'exit status {status}'}"]

    async def _in_jail(self, script: list[str], mounts: list[Mount]) -> tuple[int | None, str]:
        child = sandbox.start(self._rig.mode, script, mounts, self._rig.config.limits)
        try:
            status = await child.wait(self._rig.config.limits.idle_s)
            if status not in KILLED:
                child.raise_if_jail_failed()
        finally:
            errors = child.close()
        return status, errors

    async def _run(self, folder: Path) -> list[str]:
        rollout = await run_paper(self._rig, folder, self._paper, "smoke", fresh=False)
        result = rollout.result
        if result.reason in ("passed", "fresh_failed", "audit_failed", "not_accepted"):
            return []
        tail = " | ".join(str(rollout.trajectory["stderr"]).strip().splitlines()[-4:])
        return [f"smoke run: {result.reason}{f' ({tail[-600:]})' if tail else ''}"]


def _config(limits: Limits) -> InnerConfig:
    return InnerConfig.model_validate(
        {
            "papers": {"path": ""},
            "endpoints": {"simulator": {"kind": "simulator"}},
            "models": {
                role: Model(endpoint="simulator", model=f"sim-{role.replace('_', '-')}")
                for role in INNER_ROLES
            },
            "limits": limits.model_copy(update={"items": ITEMS, "chats": CHATS}),
            "score": "in_loop",
        }
    )


def _paper() -> PaperText:
    made = generate_papers(1, seed=0)[0]
    digest = hashlib.sha256(made.text.encode()).hexdigest()
    return PaperText(Paper(made.id, made.title, Path(), digest, made.topic), made.text, 0)
