"""One harness on one paper, and many papers into a data set: the trusted side of the inner loop."""
