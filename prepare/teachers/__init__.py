"""Labels from teachers: detectors that look at photos without labels (`mtcnn label`).

A `teacher` finds faces at several scales, `calibration` makes the scores of several comparable, `fusion` joins what
they found, `labelling` runs them over photos and sorts the results into faces, doubtful regions and background. Label
files are written by `prepare.writers`.
"""
