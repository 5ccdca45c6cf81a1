"""Everything that a start of metaopt imports: loaded once, in the process that others fork from."""

import aiohttp  # noqa: F401
import openai
import openai.resources.chat  # noqa: F401

import analysis.compare
import analysis.compare_text  # noqa: F401
import metaopt.generate
import metaopt.runner  # noqa: F401
from inner_agent.sandbox import bubblewrap_problem

bubblewrap_problem()  # whether the jail works is found out once
