"""``tadan serve``: pictures over HTTP. Needs the extra ``serve``.

::

    request -> app (limits, tokens, log) -> gate (429) -> pool of processes -> work (codec) -> answer
                                     |                                             ^
                                     +-> store (fsspec), cache of renditions ------+
"""
