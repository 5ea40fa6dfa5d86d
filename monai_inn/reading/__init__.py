"""Opening other people's files: what a header claims is checked before anything is read.

A file that is truncated, or that somebody made to harm, must give one line of text and not gigabytes of
memory. Nothing here knows what an image means; the readers that do are built on it.
"""
