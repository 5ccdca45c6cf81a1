"""``metaopt inspect``: what a data set is like as a whole, and whether it is fit to train on."""
