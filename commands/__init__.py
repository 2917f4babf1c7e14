"""The commands: parse, call the library, print. One module a group of commands, loaded when one of them is used.

Slow imports belong in the body of the command that needs them: `mtcnn --help` loads every module here.
What a command does belongs in `mtcnn`, `prepare` or `stages`, whose errors name settings; `group` turns these into
the options of the command line.
"""
