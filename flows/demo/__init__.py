"""The material of `vecmill demo`: rendered scenes, a small CLIP that knows them, docstrings."""
