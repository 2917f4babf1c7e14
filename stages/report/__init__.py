"""A work folder as one HTML page: `mtcnn report`.

`facts` reads the folder, `accuracy` measures it on validation photos, `charts` and `pictures` draw, `page` puts it all
together. Nothing here trains or changes the folder.
"""
