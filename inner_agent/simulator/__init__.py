"""A simulated endpoint: eight personas that earn their results from the text they are sent.

``Simulator`` stands behind the same ``LLM`` Protocol as a real endpoint.  It is the embedded
default model, the double that the tests use, and a workbench for search policies.  What it can
and can't tell is written in docs/simulator.md.
"""

from inner_agent.simulator.parameters import SimulatorParameters
from inner_agent.simulator.simulator import Simulator

__all__ = ["Simulator", "SimulatorParameters"]
