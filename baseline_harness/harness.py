"""Entry point: one paper in, result.json out.  The work is in the modules beside this file."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import main_agent

main_agent.run()
