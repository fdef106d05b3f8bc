"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015, arXiv:1505.04597)."""
