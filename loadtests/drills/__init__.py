"""The drills: one file each, with what it breaks, the page it expects and within how long.

`runner/` carries them out. A new drill is a new file here with a `DRILL` of the file's name.
"""
