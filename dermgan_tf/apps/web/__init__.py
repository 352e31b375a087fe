"""The pages for people: one small web application, of which each program shows a part.

`application` puts a part's routes behind `safety` and, for other hosts than this one,
`access`; `serving` binds and runs it; `pages` renders templates/ with one layout. A
part is a module that makes routes: `reader_study`, `atlas`, `studio`. The extra
[studio] installs what is needed; nothing is loaded from elsewhere.
"""
