"""Runs as pages: ``metaopt view`` serves them, ``metaopt report`` puts them into one file.

Read-only over a run's folder.  A page is made in three steps that know nothing of each other:
a pure function reads a frozen dataclass from the run, a template shows it, and ``links`` says
where the other pages lie.  Everything that a model or a paper wrote is untrusted text: templates
escape it, ``text.shown`` makes what can't be seen visible, and the Content-Security-Policy lets
no script run but the two files that are ours and the plotting library's.
"""
