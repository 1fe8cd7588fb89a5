"""Results of pure functions, kept between runs.

:mod:`~paper.keeping.memory` says where and when, :mod:`~paper.keeping.encoding` how they are written. They know nothing
of what is kept, and import nothing of ``paper``.
"""
