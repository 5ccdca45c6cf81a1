"""Search over everything that a run holds; docs/view.md says how it is used."""
