"""Checkpoints that lie elsewhere: an address becomes the path of a whole, verified file on this machine."""
