"""A static page that recommends in the browser, from an exported file.

- ``site``: puts the folder together; ``page/`` is what goes into every one.
- ``titles``: what items are called, from the data set's ``.item`` file.
- ``web_runtime``: ONNX Runtime Web, from npm or from a folder.
"""
