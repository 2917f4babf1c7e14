"""What programs for ipazc's mtcnn 1 import from here: images are loaded, and faces drawn.

New programs have `mtcnn.read_image` and `mtcnn.draw_faces`.
"""
