"""``tadan poc``: one report on the user's own pictures and machine, with thresholds that were set before the run.

::

    plan -> sections (pictures, bytes, latency, scenarios, memory, recovery, exactness, money), each saved when done
         -> KPIs -> verdict by threshold, ladder of adoption, comparison with an older report -> poc.json, report.html

A section is a function of the plan and the sample that returns what JSON can hold; nothing is measured elsewhere.
"""
