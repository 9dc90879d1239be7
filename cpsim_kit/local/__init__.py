"""The embedded local stack: one child process that is an AWS endpoint, the OCPP gateway and a CSMS.

``launcher`` runs in the reader's process and starts ``python -m cpsim_kit.local``; everything else runs in that child:
``emulator`` (the one door to ministack), ``gateway``, ``csms``, ``registry`` and ``template``.
"""
