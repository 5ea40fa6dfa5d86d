"""From files of a scanner to images of concentrations with their times and their artery."""
