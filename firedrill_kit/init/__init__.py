"""`firedrill init`: a first firedrill.toml, guessed from an application that is imported and never started.

`application` imports it, `operations` and `tables` read it, `choices`, `sign_in` and `objectives` guess,
`document` puts it on paper. What is a guess says so on its line: a person edits the file.
"""
