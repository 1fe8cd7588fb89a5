"""Our own runs: a preregistered small study of the paper's findings, and what its logs say.

``design.md`` says what is asked and predicted, and how it is answered; it is older than the first run.
:mod:`~paper.replication.prepare` decodes the images once, ``studies/`` holds what :mod:`nfnet.study` runs, and
``runs/`` the logs of finished runs.
"""
