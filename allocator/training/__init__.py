"""The training and evaluation of packs of trials on one frozen backbone."""
