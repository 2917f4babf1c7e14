"""Modules of version 0.1 that its documentation named, under their old names: `mtcnn.video` and so on.

This folder is part of the search path of `mtcnn`. Each module warns and gives the names of its successor. To be deleted
in version 0.3.
"""
